"""The services of guqiao, one folder each, and the chassis they share."""
