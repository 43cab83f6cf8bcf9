// The CPU library: the kernels of this folder compiled by the C++ compiler, once per instruction set (see
// setup.py).
#include "resolve.cu"
#include "interpolate.cu"
#include "topology.cu"
#include "antialias.cu"
#include "texture.cu"
#include "texture_anisotropic.cu"
#include "texture_volume.cu"
#include "texture_mip.cu"
#include "fixed.cu"
#include "visibility.cu"
#include "repair.cu"
#include "visibility_cpu.cpp"
