"""Whether what was given is what the program was validated on: stain and colours, nuclei, cells, the region."""
