"""A run told in one page that needs nothing else: plain numbers, charts as SVG, pictures as WebP."""
