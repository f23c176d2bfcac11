"""The simulator as a back end of scenarios: what a bench is to guests, in the scenario's own process."""
