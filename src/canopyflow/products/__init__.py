"""Maps as other people take them: Cloud Optimized GeoTIFFs, STAC items and where they came from."""
