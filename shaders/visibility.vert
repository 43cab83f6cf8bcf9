#version 430 core
// Clip-space positions pass through, scaled to the tile of the image that is drawn.
#extension GL_ARB_shader_viewport_layer_array : enable

layout(location = 0) in vec4 position;
layout(location = 1) in ivec2 image;  // per draw command: its layer, and the index of its first triangle

uniform vec4 tile;  // x, y: scale; z, w: offset; (1, 1, 0, 0) where the image is one tile

invariant gl_Position;  // a peeled layer must find the depths of the layer before again

flat out ivec2 of_vertex;

void main() {
  gl_Position = vec4(position.xy * tile.xy + position.w * tile.zw, position.zw);
  of_vertex = image;
#ifdef GL_ARB_shader_viewport_layer_array
  gl_Layer = image.x;  // otherwise visibility.geom does it
#endif
}
