"""What every layer of the pure part stands on, and the stack of one node that ties the layers together."""
