"""4SAIL: a canopy of leaves over a soil, lit by the sun and seen from above.

Sources: Verhoef et al. 2007 (IEEE TGRS 45, 1808; four-stream solution), Verhoef 1998 (PhD thesis; volume
scattering, hot-spot integration), Campbell 1990 (Agric. For. Meteorol. 49, 173; ellipsoidal leaf angles),
Kuusk 1991 (hot spot). Leaf angles are taken in 18 classes of 5 degrees.

What does not depend on the wavelength (leaf angles, extinction, hot spot) is computed once per sample; what
does is a short chain of operations over (wavelength, ...). Wavelengths, angle classes and hot-spot steps are
leading dimensions, so that operations run over long contiguous stretches of samples: several times faster
than with a trailing dimension. Formulas are written so that value and gradient stay finite at their removable
singularities: no canopy, sun behind the sensor, extinction equal to attenuation, a spherical distribution of
leaf angles.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

CLASSES = 18
HOT_SPOT_STEPS = 20
ABSORPTANCE_FLOOR = {torch.float64: 1e-8, torch.float32: 1e-4}
"""Least absorptance of a leaf: without any, attenuation and its derivative are 0/0. A green leaf has 1e-2."""
RELATIVE_SIZE_FLOOR = 1e-12
"""Least ratio of leaf size to the distance of the two paths. Leaves of no size make no hot spot, but a
division by zero."""
SOIL_COUPLING_FLOOR = 0.01
"""Least value of 1 - (soil reflectance × canopy reflectance from below): a soil brighter than white
(possible at the far corner of the variables' box) would else return more light than it received."""


class Geometry(NamedTuple):
    """What the sun and the sensor see of each leaf-angle class; no dependence on the canopy.

    ``classes``, each (18, ...): extinction towards the sun and the sensor, squared cosine of the
    inclination, area scattering towards the sensor by reflection and by transmission.
    ``separation`` (...): distance of sun and sensor in the hot-spot plane.
    """

    classes: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    separation: Tensor


class Structure(NamedTuple):
    """Sums over the leaf angles and the hot spot, each (...).

    Extinction ``ks``, ``ko`` towards sun and sensor, ``bf`` mean squared cosine, ``sob`` and ``sof``
    bidirectional scattering by reflection and transmission, ``lai``, gap probabilities
    ``gap_sun``, ``gap_view``, ``gap_both`` of the whole canopy, ``seen_lit`` and ``seen_lit_apart`` the
    integral over relative depth of the joint gap probability, with the hot spot and without.
    """

    ks: Tensor
    ko: Tensor
    bf: Tensor
    sob: Tensor
    sof: Tensor
    lai: Tensor
    gap_sun: Tensor
    gap_view: Tensor
    gap_both: Tensor
    seen_lit: Tensor
    seen_lit_apart: Tensor


class _Floor(torch.autograd.Function):
    """max(x, floor) with the derivative of x: for what is smooth in x below the floor too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, floor: float) -> Tensor:
        return x.clamp_min(floor)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0], None


def floored(x: Tensor, floor: float) -> Tensor:
    """max(x, floor); the gradient passes as if there were no floor."""
    return _Floor.apply(x, floor)


SERIES = tuple((-1.0) ** n / math.factorial(n + 1) for n in range(8))
"""(1 − e⁻ˣ)/x = Σ (−x)ⁿ/(n + 1)!"""
SLOPES = tuple(n * coefficient for n, coefficient in enumerate(SERIES))[1:]
"""Its derivative."""
SERIES_REACH = {torch.float64: 0.02, torch.float32: 0.25}
"""Where the series is as exact as the type; beyond it the plain quotient loses two digits at most."""


class _DecaysBetween(torch.autograd.Function):
    """:func:`decays_between` with a derivative of its own, which costs no further division."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(a, b, x)
        near, inside, inverse = _near(x)
        return torch.where(near, a * _polynomial(SERIES, inside), (a - b) * inverse)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        a, b, x = ctx.saved_tensors
        near, inside, inverse = _near(x)
        far = grads[0] * inverse
        by_a = torch.where(near, grads[0] * _polynomial(SERIES, inside), far)
        by_b = torch.where(near, torch.zeros_like(far), -far)
        by_x = torch.where(near, grads[0] * a * _polynomial(SLOPES, inside), (b - a) * inverse * far)
        return by_a, by_b, by_x


def decays_between(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """(a − b)/x where b = a·e⁻ˣ: the mean of an exponential between two of its known values."""
    return _DecaysBetween.apply(*torch.broadcast_tensors(a, b, x))


def _near(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Whether |x| is so small that (1 − e⁻ˣ)/x needs its series; x there and 1/x elsewhere."""
    near = x.abs() < SERIES_REACH[x.dtype]
    # `torch.where` differentiates both of its branches, so the unused one gets a harmless argument: else its
    # NaN would leak into the gradient.
    return near, torch.where(near, x, torch.zeros_like(x)), 1.0 / torch.where(near, torch.ones_like(x), x)


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    value = x * coefficients[-1] + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        value = value * x + coefficient
    return value


def _leading(values: Sequence[float], like: Tensor) -> Tensor:
    """Constants as a leading dimension over ``like``, in its type and place."""
    return like.new_tensor(values).reshape(-1, *(1,) * like.ndim)


def _sight(angles: Tensor) -> Tensor:
    """Eight numbers per sample, (8, ...), of ``angles`` (..., 3) in degrees, zeniths below 90.

    Cosine and sine of the sun's zenith angle and of the sensor's; their relative azimuth brought into
    0..π, its cosine and sine; the distance of sun and sensor in the hot-spot plane.
    """
    sun, view, azimuth = torch.deg2rad(angles).movedim(-1, 0)
    psi = (azimuth - 2.0 * math.pi * torch.round(azimuth / (2.0 * math.pi))).abs()
    tan_sun, tan_view = torch.tan(sun), torch.tan(view)
    # (a − b)² + 4ab·sin²(ψ/2): the cosine rule, exact also when sun and sensor nearly coincide.
    squared = (tan_sun - tan_view) ** 2 + 4.0 * tan_sun * tan_view * torch.sin(psi / 2) ** 2
    zeniths = (torch.cos(sun), torch.sin(sun), torch.cos(view), torch.sin(view))
    return torch.stack([*zeniths, psi, torch.cos(psi), torch.sin(psi), torch.sqrt(squared.clamp_min(1e-20))])


ARC = (-0.0012624911, 0.0066700901, -0.0170881256, 0.0308918810,
       -0.0501743046, 0.0889789874, -0.2145988016, 1.5707963050)  # fmt: skip
"""arccos x/√(1 − x) on 0..1 to 2e-8, highest power first (Abramowitz & Stegun 4.4.46)."""


def _arccos(x: Tensor) -> Tensor:
    """arccos of |x| < 1; for float32 by a polynomial, which is faster."""
    if x.dtype != torch.float32:
        return torch.acos(x)
    size = x.abs()
    value = size * ARC[0] + ARC[1]
    for coefficient in ARC[2:]:
        value = value * size + coefficient
    value = value * torch.sqrt((1.0 - size).clamp_min(1e-12))
    return torch.where(x < 0, math.pi - value, value)


class _Path(NamedTuple):
    """The sun or the sensor, as each leaf class faces it.

    ``angle`` in (0, π] is the azimuth beyond which a leaf shows its other side, with its ``cosine`` and
    ``sine``; ``term`` is its part in the scattering, ``facing`` the extinction times the cosine of the
    zenith.
    """

    angle: Tensor
    cosine: Tensor
    sine: Tensor
    term: Tensor
    facing: Tensor


def _path(c: Tensor, s: Tensor) -> _Path:
    """From the products ``c`` of cosines and ``s`` of sines of leaf inclination and zenith angle."""
    crosses = s > c.abs()
    one = torch.ones_like(s)
    bottom = torch.where(crosses, s, one)
    root = torch.where(crosses, torch.sqrt(torch.where(crosses, (s - c) * (s + c), one)), torch.zeros_like(s))
    cosine = torch.where(crosses, -c / bottom, -one)
    angle = torch.where(crosses, _arccos(torch.where(crosses, cosine, -0.5 * one)), math.pi * one)
    facing = (2.0 / math.pi) * ((angle - math.pi / 2) * c + root)
    return _Path(angle, cosine, root / bottom, torch.where(crosses, s, c), facing)


def extinction(zenith: Tensor) -> Tensor:
    """Extinction per leaf area of each leaf-angle class, (18, ...), on a path at ``zenith`` (...), degrees.

    For the sun it is the first of the ``classes`` of :class:`Geometry`, without the rest.
    """
    angle = torch.deg2rad(zenith)
    cosine = torch.cos(angle)
    middle = [(i + 0.5) * (math.pi / 2 / CLASSES) for i in range(CLASSES)]
    cos_leaf, sin_leaf = (_leading([f(leaf) for leaf in middle], angle) for f in (math.cos, math.sin))
    return _path(cos_leaf * cosine, sin_leaf * torch.sin(angle)).facing / cosine


def geometry(angles: Tensor) -> Geometry:
    """Each leaf-angle class as sun and sensor see it; ``angles`` (..., 3) are ANGLES in order, degrees."""
    cos_sun, sin_sun, cos_view, sin_view, psi, cos_psi, sin_psi, separation = _sight(angles)
    middle = [(i + 0.5) * (math.pi / 2 / CLASSES) for i in range(CLASSES)]
    cos_leaf, sin_leaf = (_leading([f(angle) for angle in middle], psi) for f in (math.cos, math.sin))
    cs, co, ss, so = cos_leaf * cos_sun, cos_leaf * cos_view, sin_leaf * sin_sun, sin_leaf * sin_view
    sun, view = _path(cs, ss), _path(co, so)
    # The azimuths between which leaves are lit from one side and seen from the other: |s − v| and the fold of
    # s + v into 0..π. With that of sun and sensor they make three, of which `middle` has the second.
    low, high = (sun.angle - view.angle).abs(), math.pi - (sun.angle + view.angle - math.pi).abs()
    cosines, sines = sun.cosine * view.cosine, sun.sine * view.sine
    crossed, uncrossed = sun.sine * view.cosine, sun.cosine * view.sine
    second = torch.maximum(low, torch.minimum(psi, high))
    sine = torch.where(psi > high, (crossed + uncrossed).abs(), sin_psi)
    sine = torch.where(psi < low, (crossed - uncrossed).abs(), sine)
    ends = torch.maximum(cos_psi, cosines + sines) * torch.minimum(cos_psi, cosines - sines)
    both = ss * so
    double = 2.0 * cs * co + both * cos_psi
    edge = sine * (2.0 * sun.term * view.term + both * ends)
    over = 0.5 / (math.pi * cos_sun * cos_view)
    reflected = ((math.pi - second) * double + edge).clamp_min(0.0) * over
    transmitted = (edge - second * double).clamp_min(0.0) * over
    square = (cos_leaf**2).expand_as(cs)
    classes = (sun.facing / cos_sun, view.facing / cos_view, square, reflected, transmitted)
    return Geometry(classes, separation)


def _arc(u: Tensor) -> Tensor:
    """asinh(√u)/√u for u > 0 and asin(√−u)/√−u for −1 < u < 0: one analytic function of u."""
    near = u.abs() < 0.02
    series = 1.0 + u * (-1 / 6 + u * (3 / 40 + u * (-5 / 112 + u * (35 / 1152 - u * 63 / 2816))))
    root = torch.sqrt(torch.where(near, torch.ones_like(u), u.abs()))
    rest = torch.sqrt((1.0 + u).clamp_min(1e-12))
    wide = torch.where(u > 0, torch.log(root + rest), torch.atan2(root, rest)) / root
    return torch.where(near, series, wide)


def campbell(mean_angle: Tensor) -> Tensor:
    """Share of leaf area per inclination class, (18, ...), of the ellipsoidal distribution.

    ``mean_angle`` (...) in degrees. The eccentricity's fit to the mean angle is Campbell's (1990).
    The antiderivative is written in one analytic form for flat and long ellipsoids, so the sphere
    between them (58.43 degrees) is no special case.
    """
    a = mean_angle
    x = torch.exp(((-1.6184e-5 * a + 2.1145e-3) * a - 1.2390e-1) * a + 3.2491)
    if a.dtype == torch.float32:
        return _ellipsoid_by_quadrature(x)
    edges = [i * (math.pi / 2 / CLASSES) for i in range(CLASSES + 1)]
    cosine, sine = (_leading([f(edge) for edge in edges], a) for f in (math.cos, math.sin))
    position = x * cosine / torch.sqrt(cosine**2 + x**2 * sine**2)
    u = (1.0 - 1.0 / x**2) * position**2
    area = position * (torch.sqrt((1.0 + u).clamp_min(1e-12)) + _arc(u))
    return (area[:-1] - area[1:]) / area[0]


def _ellipsoid_by_quadrature(x: Tensor) -> Tensor:
    """The same shares to 4e-7 for mean angles of 30 to 80 degrees, to the seventh digit of float32.

    The density sin t/(cos²t + x²·sin²t)² by Gauss and Legendre's three points per class: arithmetic
    alone, several times faster than the arcs of the antiderivative.
    """
    half = math.pi / 4 / CLASSES
    middle = [(2 * i + 1) * half for i in range(CLASSES)]
    shares, flat = torch.zeros_like(x), x**2 - 1.0
    for point, weight in ((-math.sqrt(0.6), 5.0), (0.0, 8.0), (math.sqrt(0.6), 5.0)):
        sines = [math.sin(angle + half * point) for angle in middle]
        squared = _leading([sine**2 for sine in sines], x)
        shares = shares + _leading([weight * sine for sine in sines], x) * (1.0 / (1.0 + flat * squared)) ** 2
    return shares * (1.0 / shares.sum(0))


def _hot_spot(size: Tensor, lai: Tensor, ks: Tensor, ko: Tensor) -> tuple[Tensor, Tensor]:
    """Joint gap probability of both paths at the bottom, and its integral over depth 0..1.

    Twenty steps of equal change of the correlation of the two paths, the probability taken as
    exponential within each step (Verhoef 1998). All arguments (...); ``size`` > 0 is the relative
    depth over which the two paths lose their correlation, small for small leaves.
    """
    step = _leading([i / HOT_SPOT_STEPS for i in range(HOT_SPOT_STEPS + 1)], size)
    fall = torch.expm1(-1.0 / size)
    inner = -torch.log1p(step[1:-1] * fall) * size
    ends = torch.zeros_like(size).unsqueeze(0)
    depth = torch.cat([ends, inner, ends + 1.0])
    correlated = -step * (fall * size)
    exponent = lai * (torch.sqrt(ko * ks) * correlated - (ks + ko) * depth)
    probability = torch.exp(exponent)
    mean = decays_between(probability[:-1], probability[1:], exponent[:-1] - exponent[1:])
    parts = mean * (depth[1:] - depth[:-1])
    return probability[-1], parts.sum(0)


def structure(lai: Tensor, share: Tensor, hot_spot: Tensor, view: Geometry) -> Structure:
    """Wavelength-independent part of the canopy; arguments (...) broadcast with ``view``.

    ``share`` (18, ...) of the leaf area per inclination class, as :func:`campbell` gives it.
    """
    ks, ko, bf, sob, sof = ((share * row).sum(0) for row in view.classes)
    # 2/(ks + ko) after Bréon: the size of leaves seen along the paths.
    size = floored(hot_spot * (ks + ko) * (0.5 / view.separation), RELATIVE_SIZE_FLOOR)
    gap_both, seen_lit = _hot_spot(size, lai, ks, ko)
    gap_sun, gap_view = torch.exp(-ks * lai), torch.exp(-ko * lai)
    apart = decays_between(torch.ones_like(gap_sun), gap_sun * gap_view, (ks + ko) * lai)
    return Structure(ks, ko, bf, sob, sof, lai, gap_sun, gap_view, gap_both, seen_lit, apart)


def sail(leaf_reflectance: Tensor, leaf_transmittance: Tensor, soil: Tensor, canopy: Structure) -> Tensor:
    """Bidirectional reflectance factor of canopy and soil, (wavelength, ...), as the three spectra."""
    rho, tau = leaf_reflectance, leaf_transmittance
    lit, lit_apart = canopy.lai * canopy.seen_lit, canopy.lai * canopy.seen_lit_apart
    # Spread over the wavelengths at once, so that derivatives are summed over them once for each.
    spread = (x.expand(torch.broadcast_shapes(rho.shape, x.shape)) for x in (*canopy[:-2], lit, lit_apart))
    ks, ko, bf, sob, sof, lai, gap_sun, gap_view, gap_both, lit, lit_apart = spread
    total, half = 0.5 * (rho + tau), 0.5 * (rho - tau)
    tilt = bf * half
    back = total + tilt  # diffuse light scattered back
    # att − back is the leaf's absorptance: taken as such, m keeps its digits for bright leaves.
    absorbed = floored(1.0 - 2.0 * total, ABSORPTANCE_FLOOR[total.dtype])
    m = torch.sqrt(absorbed * (absorbed + 2.0 * back))
    deep = 1.0 / (absorbed + back + m)
    rinf, escaped = back * deep, (absorbed + m) * deep  # they add up to one
    sb, sf = ks * total + tilt, ks * total - tilt
    vb, vf = ko * total + tilt, ko * total - tilt
    path = m * lai
    e1 = torch.exp(-path)
    faded = path * decays_between(torch.ones_like(e1), e1, path)
    re = rinf * e1
    denom = 1.0 / ((escaped + rinf * faded) * (1.0 + re))
    # J1 = (e^{-mL} − e^{-kL})/(k − m) and J2 = (1 − e^{-(k+m)L})/(k + m).
    j1s = lai * decays_between(e1, gap_sun, (ks - m) * lai)
    j1o = lai * decays_between(e1, gap_view, (ko - m) * lai)
    over_s, over_o = 1.0 / (ks + m), 1.0 / (ko + m)
    j2s, j2o = (1.0 - gap_sun * e1) * over_s, (1.0 - gap_view * e1) * over_o
    down_s, up_s = sf + sb * rinf, sf * rinf + sb
    down_v, up_v = vf + vb * rinf, vf * rinf + vb
    ps, qs = down_s * j1s, up_s * j2s
    pv, qv = down_v * j1o, up_v * j2o
    rdd = rinf * faded * (1.0 + e1) * denom
    tsd, tdo = (ps - re * qs) * denom, (pv - re * qv) * denom
    rdo = (qv - re * pv) * denom
    g1, g2 = (lit_apart - j1s * gap_view) * over_o, (lit_apart - j1o * gap_sun) * over_s
    multiple = up_v * g1 * down_s + down_v * g2 * up_s - (rdo * qs + tdo * ps) * rinf
    multiple = multiple * (1.0 / (escaped * (1.0 + rinf)))
    single = (sob * rho + sof * tau) * lit
    coupling = soil * (1.0 / (1.0 - soil * rdd).clamp_min(SOIL_COUPLING_FLOOR))
    ground = ((gap_sun + tsd) * tdo + (tsd + gap_sun * soil * rdd) * gap_view) * coupling
    return single + multiple + ground + gap_both * soil
