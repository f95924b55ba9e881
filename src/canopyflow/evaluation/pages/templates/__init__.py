"""Templates of the page of a campaign: HTML for jinja2, one style sheet, and the scripts that stand in it."""
