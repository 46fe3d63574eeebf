"""What is measured: readouts of runs, screening, attribution, patching, controls."""
