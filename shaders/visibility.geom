#version 430 core
// Sends a triangle to its layer, on drivers whose vertex shaders cannot (no GL_ARB_shader_viewport_layer_array).

layout(triangles) in;
layout(triangle_strip, max_vertices = 3) out;

invariant gl_Position;

flat in ivec2 of_vertex[];
flat out ivec2 of_triangle;

void main() {
  for (int k = 0; k < 3; ++k) {
    gl_Position = gl_in[k].gl_Position;
    gl_Layer = of_vertex[0].x;
    gl_PrimitiveID = gl_PrimitiveIDIn;
    of_triangle = of_vertex[0];
    EmitVertex();
  }
  EndPrimitive();
}
