"""One table of chips: peaks, memory, prices, and how Google Cloud counts and names slices of them.

Sources. TPU peaks, memory and slice shapes: the Cloud TPU documentation pages "TPU v2", "TPU v3", "TPU v4", "TPU v5e", "TPU v5p"
and "TPU v6e"; runtime versions: its page "Cloud TPU software versions". GPU peaks: the NVIDIA data sheets of A100, H100 (SXM) and
H200, dense, that is without the factor 2 of structured sparsity. TPU prices: US dollars per chip and hour in the cheapest US
region, from SkyPilot's catalog of Google Cloud (v8; v4 from the page "Cloud TPU pricing"; none was read of v2, v3). Spot prices
move, and other regions ask up to twice as much. GPU prices differ too much between providers for one number and are left unknown.
"""

import difflib
import math
import re
from dataclasses import dataclass
from typing import NamedTuple

from bert_jax.errors import UserError

PRICES_READ = "2026-11-20"


@dataclass(frozen=True)
class Chip:
    """One kind of accelerator.

    Args:
        device_kinds: what jax.devices()[0].device_kind says on it.
        bf16_tflops: peak of dense bfloat16 matrix products, 10^12 floating point operations per second and chip.
        hbm_gb: memory per chip, GiB.
        granted_gb: what of it programs can have, GiB: of TPUs as libtpu 0.0.42 says when it refuses a program, of GPUs three
            quarters (JAX documentation, "GPU memory allocation").
        hbm_gb_per_s: bandwidth of that memory.
        usd_on_demand, usd_spot: per chip and hour on PRICES_READ; None where unknown.
        jax_devices: devices that JAX shows per chip.
    """

    device_kinds: tuple[str, ...]
    bf16_tflops: float
    hbm_gb: float
    granted_gb: float
    hbm_gb_per_s: float
    usd_on_demand: float | None
    usd_spot: float | None
    jax_devices: int = 1


@dataclass(frozen=True)
class CloudTpu:
    """How Google Cloud names the slices of one TPU generation and divides them among virtual machines.

    Args:
        prefix: what --accelerator-type begins with; the name of the chip is accepted too.
        counted_per_chip: how much one chip adds to the number in the type: 1 where chips are counted, 2 where TensorCores are.
        one_host: the slices that are one VM, in chips.
        host_chips: chips of each VM of a larger slice.
        topologies: how the chips of each slice are laid out, the smallest first.
        runtime_version: the software of the VM, gcloud's --version.
    """

    prefix: str
    counted_per_chip: int
    one_host: tuple[int, ...]
    host_chips: int
    topologies: tuple[str, ...]
    runtime_version: str

    def type_name(self, chips: int) -> str:
        return f"{self.prefix}-{chips * self.counted_per_chip}"


# fmt: off
CHIPS = {
    #                 device_kind in JAX            TFLOP/s  GiB granted GB/s  USD, spot; JAX devices
    "v2":      Chip(("TPU v2",),                         46,  16,  14.96,  700, None, None, 2),
    "v3":      Chip(("TPU v3",),                        123,  32,  30.96,  900, None, None, 2),
    "v4":      Chip(("TPU v4",),                        275,  32,  30.75, 1228, 3.22, None),
    "v5e":     Chip(("TPU v5 lite", "TPU v5e"),         197,  16,  15.75,  819, 1.20, 0.245),
    "v5p":     Chip(("TPU v5", "TPU v5p"),              459,  95,  95.74, 2765, 4.20, 0.836),
    "v6e":     Chip(("TPU v6 lite", "TPU v6e"),         918,  32,  31.25, 1638, 2.70, 0.544),
    "A100-80": Chip(("NVIDIA A100-SXM4-80GB",),         312,  80,  60.00, 2039, None, None),
    "H100":    Chip(("NVIDIA H100 80GB HBM3",),         989,  80,  60.00, 3350, None, None),
    "H200":    Chip(("NVIDIA H200",),                   989, 141, 105.75, 4800, None, None),
}

_SQUARES = "1x1 2x2 2x4 4x4 4x8 8x8 8x16 16x16".split()
_CUBES = "2x2x1 2x2x2 2x2x4 2x4x4 4x4x4 4x4x8 4x8x8 8x8x8 8x8x16 8x16x16".split()

CLOUD_TPUS = {
    "v2":  CloudTpu("v2",        2, (4,),      4, ("2x2", "4x4", "8x8", "8x16", "16x16"),          "tpu-ubuntu2204-base"),
    "v3":  CloudTpu("v3",        2, (4,),      4, ("2x2", *_SQUARES[3:], "16x32", "32x32"),        "tpu-ubuntu2204-base"),
    "v4":  CloudTpu("v4",        2, (4,),      4, (*_CUBES,),                                      "tpu-ubuntu2204-base"),
    "v5e": CloudTpu("v5litepod", 1, (1, 4, 8), 4, (*_SQUARES,),                                    "v2-alpha-tpuv5-lite"),
    "v5p": CloudTpu("v5p",       2, (4,),      4, (*_CUBES, "16x16x16", "16x16x24"),               "v2-alpha-tpuv5"),
    "v6e": CloudTpu("v6e",       1, (1, 4, 8), 4, (*_SQUARES,),                                    "v2-alpha-tpuv6e"),
}
# fmt: on


class Slice(NamedTuple):
    """A slice of a TPU pod, as an accelerator type or a topology names it; or so many GPUs, whose last three are empty."""

    chip: str
    chips: int
    hosts: int  # virtual machines
    runtime_version: str = ""
    gcloud_type: str = ""
    topology: str = ""

    @property
    def devices(self) -> int:
        """As JAX counts them."""
        return self.chips * CHIPS[self.chip].jax_devices

    def usd_per_hour(self, spot: bool) -> float | None:
        """Price of the whole slice on PRICES_READ, None if unknown."""
        price = CHIPS[self.chip].usd_spot if spot else CHIPS[self.chip].usd_on_demand
        return None if price is None else price * self.chips


def slices(chip: str) -> list[Slice]:
    """Every slice of this kind of TPU, the smallest first."""
    cloud = CLOUD_TPUS[chip]
    found = []
    for topology in cloud.topologies:
        chips = math.prod(map(int, topology.split("x")))
        hosts = 1 if chips in cloud.one_host else chips // cloud.host_chips
        found.append(Slice(chip, chips, hosts, cloud.runtime_version, cloud.type_name(chips), topology))
    return found


def _types() -> dict[str, Slice]:
    """Every accelerator type, and the same with the name of the chip before the number."""
    known = {}
    for chip, cloud in CLOUD_TPUS.items():
        for slice_ in slices(chip):
            known[slice_.gcloud_type] = known[slice_.gcloud_type.replace(cloud.prefix, chip)] = slice_
    return known


def parse_accelerator_type(text: str) -> Slice:
    """The slice that an accelerator type names: v5litepod-8 or v5e-8 (8 chips), v4-8 (8 TensorCores: 4 chips), v6e-1.

    Raises:
        UserError: no such type; the nearest known ones are named.
    """
    known = _types()
    if text in known:
        return known[text]
    prefix, _, number = text.lower().rpartition("-")
    same_chip = [name for name in known if name.rpartition("-")[0] == prefix]
    if same_chip and re.fullmatch("[0-9]{1,9}", number):
        near = sorted(same_chip, key=lambda name: abs(int(name.rpartition("-")[2]) - int(number)))[:2]
    else:
        near = difflib.get_close_matches(text, known, n=2, cutoff=0.4) or ["v5litepod-8", "v6e-8"]
    raise UserError("there is no such TPU type", got=text, expected=f"perhaps {' or '.join(near)}")


def parse_target(text: str) -> Slice:
    """What a run is planned for: a TPU by its topology, v5e:16x16, or its type, v5litepod-256; GPUs by their number, H100:8, of
    which a host is taken to have eight.

    Raises:
        UserError: no such chip, topology or type; the nearest known ones are named.
    """
    chip, colon, layout = text.partition(":")
    if chip in CHIPS and chip not in CLOUD_TPUS:
        if not re.fullmatch("[1-9][0-9]{0,5}", layout):
            raise UserError("the number of GPUs is missing", got=text, expected=f"for instance {chip}:8")
        return Slice(chip, int(layout), hosts=-(-int(layout) // 8))
    if not colon:
        return parse_accelerator_type(text)
    if chip not in CHIPS:
        near = difflib.get_close_matches(chip, CHIPS, n=2, cutoff=0.3) or list(CHIPS)
        raise UserError("there is no such chip", got=text, expected=f"perhaps {' or '.join(near)}, as in v5e:4x4 or H100:8")
    known = {slice_.topology: slice_ for slice_ in slices(chip)}
    if layout not in known:
        asked = math.prod(int(axis) for axis in re.findall("[0-9]{1,5}", layout))
        near = sorted(known, key=lambda name: abs(known[name].chips - asked))[:2]
        named = " or ".join(f"{chip}:{name} ({known[name].chips} chips)" for name in near)
        raise UserError(f"there is no such topology of {chip}", got=text, expected=f"perhaps {named}")
    return known[layout]


def device_peak_flops(device_kind: str) -> float | None:
    """Peak bfloat16 floating point operations per second of one JAX device; None for a CPU and what the table does not hold."""
    for chip in CHIPS.values():
        if device_kind in chip.device_kinds:
            return chip.bf16_tflops * 1e12 / chip.jax_devices
    return None
