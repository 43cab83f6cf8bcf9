#version 430 core
// The same for a later layer: only what lies behind (depth, index) of the layer before.

flat in ivec2 of_triangle;  // layer, index of the first triangle of the draw command

uniform isampler2DArray before_id;
uniform sampler2DArray before_depth;

layout(location = 0) out int id;

void main() {
  id = of_triangle.y + gl_PrimitiveID + 1;
  ivec3 pixel = ivec3(gl_FragCoord.xy, of_triangle.x);
  int before = texelFetch(before_id, pixel, 0).r;
  float depth = texelFetch(before_depth, pixel, 0).r;
  bool behind = gl_FragCoord.z > depth || (gl_FragCoord.z == depth && id > before);
  // A pixel that was mended (cuda/repair.cu) may hold a depth that differs from the pipeline's in the last place.
  if (before == 0 || id == before || !behind) discard;
}
