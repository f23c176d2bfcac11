"""What the measurements of whole clusters share."""
