"""What the budget buys on this device, measured before the first step."""
