import pytest

from bert_jax import hardware
from bert_jax.errors import UserError


@pytest.mark.parametrize(
    "text, expected",
    [
        ("v5litepod-8", ("v5e", 8, 1, "v2-alpha-tpuv5-lite", "v5litepod-8")),
        ("v5e-8", ("v5e", 8, 1, "v2-alpha-tpuv5-lite", "v5litepod-8")),
        ("v5litepod-1", ("v5e", 1, 1, "v2-alpha-tpuv5-lite", "v5litepod-1")),
        ("v5litepod-16", ("v5e", 16, 4, "v2-alpha-tpuv5-lite", "v5litepod-16")),
        ("v4-8", ("v4", 4, 1, "tpu-ubuntu2204-base", "v4-8")),
        ("v4-32", ("v4", 16, 4, "tpu-ubuntu2204-base", "v4-32")),
        ("v5p-8", ("v5p", 4, 1, "v2-alpha-tpuv5", "v5p-8")),
        ("v6e-8", ("v6e", 8, 1, "v2-alpha-tpuv6e", "v6e-8")),
        ("v6e-256", ("v6e", 256, 64, "v2-alpha-tpuv6e", "v6e-256")),
    ],
)
def test_a_type_counts_chips_or_tensorcores_as_its_generation_does(text, expected):
    assert hardware.parse_accelerator_type(text)[:5] == expected


@pytest.mark.parametrize(
    "text, nearest",
    [
        ("v5litepod-7", "v5litepod-8"),
        ("v6e-17", "v6e-16"),
        ("v5lite-8", "v5litepod-8"),
        ("v4-512000", "v4-4096"),
        ("V6E-8", "v6e-8"),
    ],
)
def test_an_unknown_type_names_the_nearest_known_one(text, nearest):
    with pytest.raises(UserError, match=f"perhaps.*{nearest}"):
        hardware.parse_accelerator_type(text)


@pytest.mark.parametrize("text", ["", "-", "8", "banana", "v4-", "v4-8x", "v4-8 --spot", "v4-" + "9" * 5000])
def test_nonsense_is_a_user_error(text):
    with pytest.raises(UserError, match="no such TPU type"):
        hardware.parse_accelerator_type(text)


@pytest.mark.parametrize("type_name", ["v2-8", "v3-8", "v3-2048", "v4-8", "v4-4096", "v5litepod-256", "v5p-12288", "v6e-256"])
def test_a_topology_and_a_type_name_the_same_slice(type_name):
    slice_ = hardware.parse_target(type_name)
    assert hardware.parse_target(f"{slice_.chip}:{slice_.topology}") == slice_ == hardware.parse_accelerator_type(type_name)


def test_chips_of_two_cores_that_jax_tells_apart_show_as_two_devices():
    assert hardware.parse_target("v3:2x2").devices == 8
    assert hardware.parse_target("v4:2x2x1").devices == 4
    assert hardware.device_peak_flops("TPU v3") == 123e12 / 2


def test_gpus_are_a_number_of_them_eight_to_a_host():
    assert hardware.parse_target("H100:12")[:3] == ("H100", 12, 2)
    assert hardware.parse_target("A100-80:4").devices == 4


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("v5e:16x17", "v5e:16x16"),
        ("v4:2x2", "v4:2x2x1"),
        ("v5e:", "v5e:1x1"),
        ("v5e:0x0", "v5e:1x1"),
        ("H100", "H100:8"),
        ("H100:0", "H100:8"),
        ("B200:8", "H200"),
        ("v5litepod-17", "v5litepod-16"),
        ("v5e:" + "9" * 5000, "v5e:16x16"),
        ("", "v5litepod-8"),
    ],
)
def test_an_unknown_target_names_the_nearest_known_one(text, nearest):
    with pytest.raises(UserError, match=nearest):
        hardware.parse_target(text)


def test_the_peak_of_a_device_is_found_by_its_exact_name():
    assert hardware.device_peak_flops("TPU v5 lite") == 197e12
    assert hardware.device_peak_flops("TPU v5") == 459e12  # v5p: not mistaken for "TPU v5 lite"
    assert hardware.device_peak_flops("TPU v6 lite") == hardware.device_peak_flops("TPU v6e") == 918e12
    assert hardware.device_peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    assert hardware.device_peak_flops("NVIDIA H100 PCIe") is None  # slower than the SXM one: no guess
    assert hardware.device_peak_flops("cpu") is None


def test_no_two_chips_share_a_device_name():
    kinds = [kind for chip in hardware.CHIPS.values() for kind in chip.device_kinds]
    assert len(kinds) == len(set(kinds))


def test_a_slice_costs_its_chips_times_the_price_and_an_unknown_price_is_not_a_number():
    assert hardware.parse_accelerator_type("v5litepod-8").usd_per_hour(spot=False) == pytest.approx(9.60)
    assert hardware.parse_accelerator_type("v4-8").usd_per_hour(spot=False) == pytest.approx(12.88)  # 4 chips
    assert hardware.parse_accelerator_type("v4-8").usd_per_hour(spot=True) is None


def test_price_of_bert_base_on_the_published_schedule():
    """6NT, N = 110M, 1M steps of 256 rows (90% of 128 tokens, 10% of 512), 40% of the peak of v6e: 21 chip-hours, $57."""
    tokens = 1e6 * 256 * (0.9 * 128 + 0.1 * 512)
    chip_hours = 6 * 110e6 * tokens / (0.4 * hardware.device_peak_flops("TPU v6e")) / 3600
    assert chip_hours == pytest.approx(21.3, abs=0.1)
    assert chip_hours * hardware.CHIPS["v6e"].usd_on_demand == pytest.approx(57, abs=1)
