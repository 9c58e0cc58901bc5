"""What surrounds the pipeline: local servers, their stand-ins, locked dependencies."""
