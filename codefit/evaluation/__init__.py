"""What the models are asked, how their answers are compared, and how this is reported."""
