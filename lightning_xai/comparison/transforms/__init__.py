"""What is done to the images of a comparison before they are explained: transforms with strengths."""
