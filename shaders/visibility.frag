#version 430 core
// The index of the triangle plus one. The depth test keeps the nearest; of equal depths, the first that was drawn.

flat in ivec2 of_triangle;  // layer, index of the first triangle of the draw command

layout(location = 0) out int id;

void main() {
  id = of_triangle.y + gl_PrimitiveID + 1;
}
