"""Shadow maps: shadows where they belong, and their gradients against finite differences of pictures with hard,
computed shadows."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import shading
from reference import shading as oracle

import diffrast.torch as dr
from diffrast.camera import Camera
from diffrast.mesh import cube, icosphere, plane
from diffrast.mesh.batch import concatenate
from diffrast.mesh.mesh import Mesh
from diffrast.scene.light import DirectionalLight, PointLight, SpotLight
from diffrast.scene.material import Lambert
from diffrast.scene.renderer import Scene, render
from diffrast.scene.shadow import Shadow, shadow_map

RADIUS, PLACE = 0.5, np.array([0.6, 1.5, 0.2])
TO_SUN = np.array([0.5, 1.0, 0.3])
LAMP = np.array([2.5, 5.0, 1.5])
SIZE = 40
GROUND = plane(4.0)
BALL = icosphere(RADIUS, 3)
GEM = icosphere(RADIUS, 0)  # 20 faces: antialias sees a silhouette only where its triangle owns a pixel
BOX = replace(cube(1.0), vertices=cube(1.0).vertices * torch.tensor([0.9, 0.7, 0.8]))


def stage(place, body=BALL):
    """A body over a ground."""
    vertices = torch.cat([GROUND.vertices.double(), body.vertices.double() + place])
    return Mesh(vertices, torch.cat([GROUND.faces, body.faces + len(GROUND.vertices)]))


def overhead(size=SIZE):
    """Looks straight down; the ball casts its shadow into the picture, and is itself to the right of it."""
    return Camera.look_at((-0.9, 3.0, -0.3), (-0.9, 0, -0.3), (0, 0, -1), fov_y=0.55, width=size, height=size)


def lamp(kind, shadow, at=LAMP):
    if kind == "directional":
        return DirectionalLight(torch.tensor(-TO_SUN), (2.0, 2.0, 2.0), shadow=shadow).double()
    if kind == "spot":
        return SpotLight(torch.tensor(at), torch.tensor(-at), (60.0,), inner=0.5, outer=0.6, shadow=shadow).double()
    return PointLight(torch.tensor(at), (60.0, 60.0, 60.0), shadow=shadow).double()


def misses_ball(ground, to, place):
    off = place - ground
    along = (off * to).sum(-1)
    return (off**2).sum(-1) - along**2 > RADIUS**2


def misses_convex(body):
    """The same for a convex mesh: the ray is outside of one of its half-spaces at every point."""
    corners = body.vertices.double().numpy()[body.faces.numpy()]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])

    def misses(ground, to, place):
        enter, leave = np.full(to.shape[:-1], -np.inf), np.full(to.shape[:-1], np.inf)
        for n, corner in zip(normals, corners[:, 0], strict=True):
            slope = to @ n
            at = ((corner + place - ground) @ n) / slope
            enter = np.where(slope < 0, np.maximum(enter, at), enter)
            leave = np.where(slope > 0, np.minimum(leave, at), leave)
        return enter > leave

    return misses


def hard(kind, at, place, size, misses=misses_ball):
    """The picture with perfect shadows: for each pixel, whether the ray from the ground to the light misses the body.
    `at`: the light's position or direction."""
    cam = overhead(size)
    t = (np.arange(size) + 0.5) / size * 2 - 1
    half = 3.0 * math.tan(0.55 / 2)
    x, y = np.meshgrid(t * half, t * half)
    ground = np.stack([cam.center[0].item() + x, 0 * x, cam.center[2].item() - y], -1)
    to = -at + 0 * ground if kind == "directional" else at - ground
    distance = np.linalg.norm(to, axis=-1)
    to = to / distance[..., None]
    lit = misses(ground, to, place)
    irradiance = 2.0 if kind == "directional" else 60.0 / distance**2
    return np.repeat((lit * to[..., 1] * irradiance / np.pi)[..., None], 3, -1)


def picture(kind, shadow, place, body=BALL, samples=2, at=LAMP):
    scene = Scene(stage(torch.as_tensor(place), body), Lambert((1.0, 1.0, 1.0)), [lamp(kind, shadow, at)])
    return scene, render(scene, overhead(), samples=samples).image[0, ..., :3]


@pytest.mark.parametrize("kind", ["directional", "point", "spot"])
def test_shadows_lie_where_they_belong(kind):
    with torch.no_grad():
        _, got = picture(kind, Shadow(512, 0.002), PLACE)
        _, unshadowed = picture(kind, None, PLACE)
    at = -TO_SUN if kind == "directional" else LAMP
    fine = hard(kind, at, PLACE, 8 * SIZE)
    want = fine.reshape(SIZE, 8, SIZE, 8, 3).mean((1, 3))
    assert 0.1 < (want < 0.5 * unshadowed.numpy()).mean() < 0.5
    # Same amount of shadow, and in the same place.
    assert got.mean().item() == pytest.approx(want.mean(), rel=0.01)
    assert oracle.psnr(got.numpy(), want) > 30


def test_what_is_lit_stays_lit():
    """No shadow acne: a ball alone under a light from above is shaded as without a shadow map, but for the
    terminator."""
    place = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    cam = shading.camera(32, eye=(1.0, 4.0, 3.0), target=(0, 0.6, 0), fov_y=0.6)
    light = torch.tensor([-0.2, -1.0, -0.1])
    with torch.no_grad():
        plain, shadowed = (
            render(Scene(stage(place), Lambert(), [DirectionalLight(light, shadow=s)]).double(), cam)
            for s in (None, Shadow())
        )
    cosine = -(plain.normal @ torch.nn.functional.normalize(light.double(), dim=0))
    lit = (cosine > 0.4) & (plain.position[..., 1] > 0.05) & plain.mask  # the ball's upper side
    assert lit.sum() > 30
    ratio = (shadowed.image / plain.image.clamp_min(1e-6))[..., 0][lit]
    assert ratio.min() > 0.9
    assert ratio.mean() > 0.99


def numeric(kind, which, misses, step=0.02, at=LAMP, place=PLACE):
    """The derivative of the weighed picture with hard shadows, less that without, so that only shadows count."""
    fine = SIZE * 10
    w = shading.weights((SIZE, SIZE)).repeat_interleave(10, 0).repeat_interleave(10, 1).numpy()
    start = {"light": -TO_SUN if kind == "directional" else at, "place": place}
    found = []
    for i in range(3):
        values = []
        for s in (step, -step):
            now = {k: v.copy() for k, v in start.items()}
            now[which][i] += s
            far = now["place"] + (0, 1e3, 0)  # where its shadow is out of sight
            value = hard(kind, now["light"], now["place"], fine, misses) - hard(kind, now["light"], far, fine, misses)
            values.append((value * w).mean())
        found.append((values[0] - values[1]) / (2 * step))
    return np.array(found)


@pytest.mark.parametrize("kind", ["directional", "point"])
@pytest.mark.parametrize("which", ["light", "place"])
@pytest.mark.parametrize(
    ("body", "misses"), [(BOX, misses_convex(BOX)), (GEM, misses_convex(GEM)), (BALL, misses_ball)]
)
def test_gradients_from_shadows(kind, which, body, misses):
    """A moving light and a moving occluder, which is out of the picture: its shadow alone tells. The ball has triangles
    that own no pixel of the map along its whole outline."""
    check_gradients(kind, which, body, misses, LAMP, PLACE, 512)


def check_gradients(kind, which, body, misses, at, start, resolution):
    grads = []
    for shadow in (Shadow(resolution, 0.004), None):
        place = torch.tensor(start, requires_grad=True)
        scene, image = picture(kind, shadow, place, body, at=at)
        light = scene.lights[0].direction if kind == "directional" else scene.lights[0].position
        loss = (image * shading.weights((SIZE, SIZE))).mean()
        grads.append(shading.flat_gradient([light if which == "light" else place], loss))
    got, want = grads[0] - grads[1], numeric(kind, which, misses, at=at, place=start)
    cosine, error = shading.cosine_and_error(got, want)
    assert cosine > 0.97 and error < 0.15, f"got {got}, expected {want}: cosine {cosine:.4f}, error {error:.3f}"


# --- A lamp among the scene: a cube of shadow maps --------------------------------------------------------------------

INSIDE, SMALL = np.array([0.5, 1.3, 0.4]), replace(GEM, vertices=0.5 * GEM.vertices)
BELOW = np.array([0.1, 0.65, 0.1])  # its shadow crosses from one side of the cube to the next


@pytest.mark.parametrize("kind", ["point", "spot"])
def test_a_lamp_among_the_scene(kind):
    with torch.no_grad():
        _, got = picture(kind, Shadow(512, 0.002), BELOW, SMALL, at=INSIDE)
        _, unshadowed = picture(kind, None, BELOW, SMALL, at=INSIDE)
    lit = hard("point", INSIDE, BELOW, 8 * SIZE, misses_convex(SMALL)) > 0
    lit = torch.from_numpy(lit.reshape(SIZE, 8, SIZE, 8, 3).mean((1, 3)))
    assert 0.05 < (lit < 0.5).double().mean() < 0.5
    assert oracle.psnr(got.numpy() / 3, (lit * unshadowed).numpy() / 3) > 30  # 3: most of what is seen is darker


@pytest.mark.parametrize("which", ["light", "place"])
def test_gradients_from_a_lamp_among_the_scene(which):
    check_gradients("point", which, SMALL, misses_convex(SMALL), INSIDE, BELOW, 512)


def test_shadows_in_all_directions():
    """A lamp in the middle of six balls inside of a sphere: as much shadow as the balls' solid angles."""
    axes = torch.cat([torch.eye(3), -torch.eye(3)])
    turned = axes @ torch.linalg.matrix_exp(torch.tensor([[0.0, 0.5, -0.3], [-0.5, 0, 0.8], [0.3, -0.8, 0]]))
    room = icosphere(2.0, 4)
    balls = [replace(icosphere(0.3, 3), vertices=icosphere(0.3, 3).vertices + place) for place in turned]
    mesh = concatenate([replace(room, faces=room.faces.flip(1)), *balls])
    light = PointLight((0.0, 0.0, 0.0), shadow=Shadow(256, 0.002)).double()
    seen = shadow_map(dr.RasterizeContext(), light, mesh.vertices.double(), mesh.faces)
    d = torch.nn.functional.normalize(torch.randn(20000, 3, generator=torch.Generator().manual_seed(0)), dim=1).double()
    lit = seen.visibility(1.98 * d).detach()[:, 0]
    want = ((d @ turned.double().T).amax(1) < math.cos(math.asin(0.3))).double()
    assert (lit - want).abs().mean() < 0.01
    assert lit[want > 0].mean() > 0.99
