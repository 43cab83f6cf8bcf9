"""Times of rasterization with OpenGL beside the CPU's, CPU tensors: `python benchmarks/opengl.py`.

A time with OpenGL is that of the visibility pass, its read-back and the resolve kernel; "pass" is the first two. What
draws is in the first lines: on llvmpipe, Mesa's software, the processor draws as well. The last table is why
`dr.gbuffer` goes through resolve and interpolate: the other way is to let the pipeline write attributes and their
derivatives into attachments. "buffers read" ends there; a G-buffer also has `rast` and `rast_db`, by the resolve kernel
as on every backend, and one tensor of attributes and one of derivatives: "attachments" is the whole.
"""

import argparse
from importlib import import_module
from typing import Any

import torch
from measure import machine, milliseconds, save, table
from workloads import clip_positions, sphere

import diffrast.torch as dr
from diffrast import backends

SIZES = (512, 1024, 2048)
TRIANGLES = (1_300, 20_000, 330_000)


def rasterize_table() -> list[dict[str, object]]:
    cpu, gl = (dr.RasterizeContext(backend=name) for name in ("cpu", "gl"))
    rows = []
    for triangles in TRIANGLES:
        points, _, tri = sphere(triangles)
        pos = clip_positions(points)
        for size in SIZES:
            arguments = (pos, tri, None, size, size, "none", "gl", None, None, False)
            work = {
                "pass ms": lambda arguments=arguments: torch.ops.diffrast.visibility(*arguments),
                "gl ms": lambda size=size, pos=pos, tri=tri: dr.rasterize(gl, pos, tri, (size, size)),
                "cpu ms": lambda size=size, pos=pos, tri=tri: dr.rasterize(cpu, pos, tri, (size, size)),
            }
            ids, want = (dr.triangle_id(work[name]()[0]) for name in ("gl ms", "cpu ms"))
            times: dict[str, Any] = {name: milliseconds(call, 40, 10) for name, call in work.items()}
            rows.append(
                {
                    "triangles": tri.shape[0],
                    "size": size,
                    **times,
                    "gl / cpu": times["gl ms"] / times["cpu ms"],
                    "pixels that differ": float((ids != want).float().mean()),
                }
            )
    return rows


def context_table() -> list[dict[str, object]]:
    """Opening a context, and a small picture in one that is open."""
    ctx = dr.RasterizeContext(backend="gl")
    points, _, tri = sphere(1300)
    pos = clip_positions(points)

    def small() -> None:
        dr.rasterize(ctx, pos, tri, (16, 16))

    def again() -> None:
        ctx.release_context()
        small()

    return [
        {"opened again, with a 16x16 picture, ms": milliseconds(again), "that picture alone, ms": milliseconds(small)}
    ]


VERTEX = """#version 430 core
in vec4 position; in vec3 data; out vec3 value;
void main() { gl_Position = position; value = data; }"""
FRAGMENT = """#version 430 core
in vec3 value;
layout(location = 0) out int id; layout(location = 1) out vec4 a; layout(location = 2) out vec4 x;
layout(location = 3) out vec4 y;
void main() { id = gl_PrimitiveID + 1; a = vec4(value, gl_FragCoord.z);
  x = vec4(dFdx(value), 0); y = vec4(dFdy(value), 0); }"""


def gbuffer_table() -> list[dict[str, object]]:
    ctx = dr.RasterizeContext(backend="gl")
    rows = []
    for size in SIZES:
        points, _, tri = sphere(1300)
        pos, attr = clip_positions(points), points.float().contiguous()
        ours = milliseconds(lambda: dr.gbuffer(ctx, pos, tri, attr, (size, size)))  # noqa: B023 - called at once
        gl: Any = import_module("moderngl").create_context(standalone=True, backend="egl")
        gl.gc_mode = "auto"
        content = [(gl.buffer(pos[0].numpy()), "4f", "position"), (gl.buffer(attr.numpy()), "3f", "data")]
        array = gl.vertex_array(
            gl.program(vertex_shader=VERTEX, fragment_shader=FRAGMENT), content, index_buffer=gl.buffer(tri.numpy())
        )
        images = [gl.texture((size, size), 1, dtype="i4")] + [gl.texture((size, size), 4, dtype="f4") for _ in range(3)]
        target = gl.framebuffer(images, gl.depth_renderbuffer((size, size)))
        gl.enable(gl.DEPTH_TEST)
        tensors = [torch.empty(size, size, image.components).view(torch.int32) for image in images]

        def pipeline(images=images, tensors=tensors, target=target, array=array) -> None:
            target.use()
            target.clear()
            array.render()
            for image, tensor in zip(images, tensors, strict=True):
                image.read_into(tensor.numpy())

        def whole(tensors=tensors, pipeline=pipeline, pos=pos, tri=tri) -> tuple[torch.Tensor, ...]:
            pipeline()
            ids, values, x, y = tensors
            rast, rast_db = torch.ops.diffrast.resolve(pos, tri, ids[None, ..., 0], True)
            a, x, y = (t.view(torch.float32)[..., :3] for t in (values, x, y))
            return rast, rast_db, a.contiguous(), torch.stack([x, y], dim=-1), ids.long().sub_(1)

        rows.append(
            {
                "size": size,
                "resolve and interpolate ms": ours,
                "attachments ms": milliseconds(whole),
                "of these, buffers read ms": milliseconds(pipeline),
            }
        )
        gl.release()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-json", action="store_true", help="print only")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    dr.set_log_level(2)
    renderer = backends.get("gl").description
    print(", ".join(f"{k}: {v}" for k, v in machine().items()))
    print(f"OpenGL: {renderer}")
    results: dict[str, object] = {"opengl": renderer}
    tables = {
        "rasterize, both outputs": rasterize_table,
        "contexts": context_table,
        "gbuffer of three attributes with derivatives, 1.3k triangles": gbuffer_table,
    }
    for title, make in tables.items():
        rows = make()
        table(title, rows)
        results[title] = rows
    if not args.no_json:
        save("opengl", results)


if __name__ == "__main__":
    main()
