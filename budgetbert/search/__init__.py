"""A search over the settings of a recipe: `arms` are what is tried, `search` tries them, `report` tells of it."""
