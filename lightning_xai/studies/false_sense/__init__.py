"""Zhang, Torres and Hermanns, "Saliency Maps Give a False Sense of Explanability to Image Classifiers", ACML 2024."""
