"""Running a model, clean or under interventions: the one way there is, and its speed."""
