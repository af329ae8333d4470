"""PixelCNN++: streams of shifted convolutions, one equation a pixel with all its channels."""
