"""Methods x missing rates x seeds as one matrix of runs."""
