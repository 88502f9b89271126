"""Networks and forests that tell the cells of a Ki-67 slide, trained on labelled fields."""
