"""Pages and charts: HTML, SVG and Markdown in which every value that is not ours is inert."""
