"""A trained model on a user's own pictures: which model, which pictures, what comes out."""
