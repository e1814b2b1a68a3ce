"""Writes the pages that are made from the code: docs/config.md, docs/activations.md, docs/norms.md and hardware/README.md.

``python docs/make_reference.py`` writes them; a test compares them with what the code says.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

import neurosim as ns
from neurosim.activations.catalogue import page_of_activations
from neurosim.catalogue import table_of_norms
from neurosim.config import json_schema, study_schema
from neurosim.config.schema import DataConfig, ModelConfig
from neurosim.described import descriptions
from neurosim.hardware.chain import ChainSpec, NeuronSpec
from neurosim.hardware.devices import LAWS
from neurosim.hardware.profile import _units as units_of  # what a profile may say, by the same rule as its check
from neurosim.hardware.profile import slot_and_field
from neurosim.norms import FOLD_CLASSES

ROOT = Path(__file__).resolve().parents[1]
Schema = dict[str, Any]

_STAGES = "tests/hardware/test_stages.py::"
_CONTROL = "tests/convert/test_control.py::"
_CONVERTER = "tests/hardware/test_converter.py::"
_WIRES = "tests/hardware/test_wires.py::"
_NEURON_STAGES = "tests/hardware/test_neuron_stages.py::"
_DEVICE_STAGES = "tests/hardware/test_device_stages.py::"
_CELLS = "tests/hardware/test_cells.py::"
_RINGS = "tests/hardware/test_ring_bank.py::"
_LIGHT = "tests/hardware/test_light_stages.py::"
_MESH = "tests/hardware/test_mzi_mesh.py::"
#: the test that pins down what a field of a stage does
_ARRAY = "tests/nn/test_array.py::"
_FORMATS = "tests/hardware/test_number_format.py::"
_SUMS = "tests/nn/test_array_sums.py::"
COVERED: dict[str, str] = {
    "clamp.low": "tests/parity/test_analogvnn.py::test_clamp_equals_the_peer",
    "clamp.high": "tests/parity/test_analogvnn.py::test_clamp_equals_the_peer",
    "clamp.learned": _STAGES + "test_learned_limits_receive_the_gradient_of_what_they_clip",
    "clamp.grad": _STAGES + "test_clamp_passes_the_gradient_up_to_its_limits_inclusive",
    "compensation.per": "tests/nn/test_array.py::test_compensation_takes_the_mean_of_a_drift_back",
    "deviation.g_ref_siemens": _CELLS + "test_programming_errors_are_those_of_the_fits",
    "deviation.sigma": _CELLS + "test_programming_errors_are_those_of_the_fits",
    "deviation.shift": _CELLS + "test_charge_traps_drift_and_spread_as_the_tables_of_days_say",
    "deviation.distribution": _DEVICE_STAGES + "test_a_uniform_deviation_has_its_standard_deviation_and_ends",
    "deviation.read_s": _DEVICE_STAGES + "test_a_read_time_makes_noise_grow_as_flicker_noise",
    "deviation.scale": _DEVICE_STAGES + "test_strength_and_scale_multiply_the_random_part_alone",
    "deviation.low_siemens": _DEVICE_STAGES + "test_conductances_stay_between_the_limits_of_the_device",
    "deviation.high_siemens": _DEVICE_STAGES + "test_conductances_stay_between_the_limits_of_the_device",
    "deviation.scope": _DEVICE_STAGES + "test_a_proportional_deviation_redrawn_for_every_batch_multiplies_each_cell",
    "deviation.grad": _DEVICE_STAGES + "test_a_straight_through_gradient_is_one_everywhere",
    "drift.g_ref_siemens": _DEVICE_STAGES + "test_drift_falls_with_its_mean_exponent_without_noise_and_spreads_with_it",
    "drift.exponent": _DEVICE_STAGES + "test_drift_falls_with_its_mean_exponent_without_noise_and_spreads_with_it",
    "drift.spread": _DEVICE_STAGES + "test_drift_falls_with_its_mean_exponent_without_noise_and_spreads_with_it",
    "drift.t0_s": _DEVICE_STAGES + "test_drift_falls_with_its_mean_exponent_without_noise_and_spreads_with_it",
    "drift.scale": _DEVICE_STAGES + "test_drift_falls_with_its_mean_exponent_without_noise_and_spreads_with_it",
    "drift.scope": _DEVICE_STAGES + "test_a_chip_is_its_seed_and_does_not_change_between_uses",
    "drift.grad": _DEVICE_STAGES + "test_a_straight_through_gradient_is_one_everywhere",
    "detector.power_w": _LIGHT + "test_a_detector_has_the_noise_of_the_link_at_full_scale",
    "detector.responsivity_a_per_w": _LIGHT + "test_a_detector_has_the_noise_of_the_link_at_full_scale",
    "detector.bandwidth_hz": _LIGHT + "test_a_detector_has_the_noise_of_the_link_at_full_scale",
    "detector.load_ohm": _LIGHT + "test_a_detector_has_the_noise_of_the_link_at_full_scale",
    "detector.dark_current_a": _LIGHT + "test_dark_current_and_background_make_shot_noise_without_signal",
    "detector.background_w": _LIGHT + "test_dark_current_and_background_make_shot_noise_without_signal",
    "detector.rin_db_per_hz": _LIGHT + "test_each_noise_follows_the_signal_by_its_law",
    "detector.saturation_a": _LIGHT + "test_a_diode_saturates_at_its_current",
    "detector.grad": _LIGHT + "test_the_gradient_of_a_detector_is_that_of_the_noisy_value_or_one",
    "converter.levels": _CONVERTER + "test_codes_of_an_adc_begin_where_its_table_says",
    "converter.low": _CONVERTER + "test_without_errors_it_is_the_quantiser",
    "converter.high": _CONVERTER + "test_without_errors_it_is_the_quantiser",
    "converter.rounding": _CONVERTER + "test_codes_of_an_adc_begin_where_its_table_says",
    "converter.clip": _CONVERTER + "test_a_floor_that_saturates_is_that_of_an_integer_word",
    "converter.learned": _CONVERTER + "test_learned_ends_stay_learned",
    "converter.grad": _CONVERTER + "test_gradients_follow_the_rule_of_the_rounding_and_the_factor_of_the_gain",
    "converter.side": _CONVERTER + "test_levels_of_a_dac_lie_where_its_table_says",
    "converter.gain": _CONVERTER + "test_gain_and_offset_are_the_converters_own_and_scale_with_their_fields",
    "converter.offset": _CONVERTER + "test_gain_and_offset_are_the_converters_own_and_scale_with_their_fields",
    "converter.dnl": _CONVERTER + "test_levels_are_a_walk_that_is_held_at_both_ends",
    "converter.noise": _CONVERTER + "test_noise_of_a_comparator_is_new_at_every_read_and_measured_in_steps",
    "converter.shared": _CONVERTER + "test_a_shared_converter_errs_alike_in_all_channels",
    "drop.probability": _NEURON_STAGES + "test_the_share_of_lost_pulses_is_the_probability",
    "fixed_point.bits": _NEURON_STAGES + "test_every_number_is_the_word_that_whole_numbers_give",
    "fixed_point.range": _NEURON_STAGES + "test_every_number_is_the_word_that_whole_numbers_give",
    "fixed_point.fit": _NEURON_STAGES + "test_a_step_that_follows_the_signal_just_holds_it",
    "fixed_point.symmetric": _NEURON_STAGES + "test_a_number_beyond_the_range_saturates_or_wraps",
    "fixed_point.rounding": _NEURON_STAGES + "test_ties_and_signs_round_as_the_name_says",
    "fixed_point.overflow": _NEURON_STAGES + "test_a_number_beyond_the_range_saturates_or_wraps",
    "lp_norm.p": _STAGES + "test_the_norm_of_the_result_is_one",
    "lp_norm.over": _STAGES + "test_the_norm_of_the_result_is_one",
    "lp_norm.max_one": _STAGES + "test_max_one_makes_the_largest_magnitude_exactly_one",
    "lp_norm.floor": _STAGES + "test_tiny_rows_are_divided_by_the_floor",
    "lp_norm.grad": _STAGES + "test_a_gradient_arrives_and_is_finite",
    "mapping.scheme": _ARRAY + "test_conductances_hold_what_they_stand_for",
    "mapping.g_min_siemens": _ARRAY + "test_conductances_hold_what_they_stand_for",
    "mapping.g_max_siemens": _ARRAY + "test_conductances_hold_what_they_stand_for",
    "mapping.sides": _ARRAY + "test_conductances_hold_what_they_stand_for",
    "mapping.subtract": _ARRAY + "test_each_tile_and_each_plane_is_converted_by_itself",
    "mapping.correction": _ARRAY + "test_without_errors_the_product_is_the_digital_one",
    "mapping.levels": _ARRAY + "test_conductances_hold_what_they_stand_for",
    "mapping.spacing": _ARRAY + "test_levels_by_equal_factors_are_the_nearest_ones",
    "mapping.slices": _ARRAY + "test_conductances_hold_what_they_stand_for",
    "mapping.weight_bits": _ARRAY + "test_conductances_hold_what_they_stand_for",
    "mismatch.spread": _NEURON_STAGES + "test_lognormal_factors_have_median_one_and_the_spread_of_their_logarithm",
    "mismatch.distribution": _NEURON_STAGES + "test_gaussian_factors_have_mean_one_their_spread_and_a_least_value",
    "mismatch.scope": _NEURON_STAGES + "test_a_programmed_error_and_one_drawn_at_every_use_are_the_same",
    "mzi_mesh.layout": _MESH + "test_the_two_layouts_fail_differently_on_the_same_draws",
    "mzi_mesh.ports": _MESH + "test_an_ideal_circuit_holds_the_matrix_itself",
    "mzi_mesh.phase_levels": _MESH + "test_more_levels_come_closer_in_proportion",
    "mzi_mesh.phase_sigma_rad": _MESH + "test_an_error_grows_with_its_field_and_is_none_at_zero",
    "mzi_mesh.scope": _MESH + "test_phase_noise_follows_its_stream",
    "mzi_mesh.offset_sigma_rad": _MESH + "test_a_chip_keeps_its_errors_and_another_chip_has_others",
    "mzi_mesh.gain_sigma": _MESH + "test_a_chip_keeps_its_errors_and_another_chip_has_others",
    "mzi_mesh.splitter_sigma_rad": _MESH + "test_a_chip_keeps_its_errors_and_another_chip_has_others",
    "mzi_mesh.crosstalk": _MESH + "test_crosstalk_disturbs_and_is_there_without_randomness",
    "mzi_mesh.loss_db": _MESH + "test_loss_is_restored_in_the_mean_and_its_differences_stay",
    "mzi_mesh.restore_loss": _MESH + "test_loss_is_restored_in_the_mean_and_its_differences_stay",
    "mzi_mesh.lock_phase": _MESH + "test_a_receiver_that_follows_the_common_phase_does_not_see_it",
    "mzi_mesh.parts": _MESH + "test_the_unitaries_alone_are_wrong_where_they_alone_have_errors",
    "noise.distribution": _STAGES + "test_additive_noise_has_the_shape_of_its_distribution",
    "noise.scale": _STAGES + "test_additive_noise_has_its_mean_and_standard_deviation",
    "noise.leakage": _STAGES + "test_measured_error_rates_equal_the_leakage_inside_and_its_clamped_average",
    "noise.precision": "tests/hardware/test_leakage.py::test_any_two_give_the_third",
    "noise.reference": _STAGES + "test_references_scale_the_noise",
    "noise.scope": _CONTROL + "test_a_layer_called_twice_draws_twice_but_holds_one_weight",
    "noise.grad": _STAGES + "test_the_forward_rule_puts_noise_on_the_gradient",
    "pcm.g_ref_siemens": _CELLS + "test_phase_change_memory_has_the_printed_table",
    "pcm.sigma": _CELLS + "test_phase_change_memory_has_the_means_and_deviations_of_the_peer",
    "pcm.exponent": _CELLS + "test_phase_change_memory_has_the_means_and_deviations_of_the_peer",
    "pcm.spread": _CELLS + "test_phase_change_memory_has_the_means_and_deviations_of_the_peer",
    "pcm.read": _CELLS + "test_phase_change_memory_has_the_means_and_deviations_of_the_peer",
    "pcm.t0_s": _CELLS + "test_phase_change_memory_has_the_printed_table",
    "pcm.read_s": _CELLS + "test_phase_change_memory_has_the_printed_table",
    "pcm.sigma_scale": _DEVICE_STAGES + "test_each_multiplier_of_phase_change_memory_switches_its_part",
    "pcm.drift_scale": _DEVICE_STAGES + "test_each_multiplier_of_phase_change_memory_switches_its_part",
    "pcm.read_scale": _DEVICE_STAGES + "test_each_multiplier_of_phase_change_memory_switches_its_part",
    "pcm.scope": _STAGES + "test_the_same_stream_gives_the_same_result_and_another_does_not",
    "pcm.grad": _DEVICE_STAGES + "test_a_straight_through_gradient_is_one_everywhere",
    "ranges.planes": "tests/nn/test_ranges_of_slices.py::test_a_range_of_each_plane_and_pass_is_the_loop_written_by_hand",
    "ranges.passes": "tests/nn/test_ranges_of_slices.py::test_a_range_of_each_plane_and_pass_is_the_loop_written_by_hand",
    "ring_bank.radius_m": _RINGS + "test_every_number_of_the_ring_shapes_its_line",
    "ring_bank.wavelength_m": _RINGS + "test_every_number_of_the_ring_shapes_its_line",
    "ring_bank.group_index": _RINGS + "test_every_number_of_the_ring_shapes_its_line",
    "ring_bank.round_trip": _RINGS + "test_every_number_of_the_ring_shapes_its_line",
    "ring_bank.coupling_bus": _RINGS + "test_every_number_of_the_ring_shapes_its_line",
    "ring_bank.coupling_drop": _RINGS + "test_every_number_of_the_ring_shapes_its_line",
    "ring_bank.channels": _RINGS + "test_rings_set_as_if_alone_disturb_each_other_within_a_bus_only",
    "ring_bank.spacing_m": _RINGS + "test_crosstalk_falls_with_the_square_of_the_spacing",
    "ring_bank.detuning_min_m": _RINGS + "test_the_ends_of_the_range_can_be_given",
    "ring_bank.detuning_max_m": _RINGS + "test_the_ends_of_the_range_can_be_given",
    "ring_bank.calibrate": _RINGS + "test_calibrated_banks_implement_the_matrix_whatever_its_width",
    "ring_bank.tuning_bits": _RINGS + "test_heaters_stand_on_their_steps",
    "ring_bank.offset_sigma_m": _RINGS + "test_offsets_of_every_scope_have_their_standard_deviation",
    "ring_bank.scope": _RINGS + "test_offsets_of_every_scope_have_their_standard_deviation",
    "ring_bank.drift_m_per_kelvin": _RINGS + "test_temperature_moves_all_resonances_alike",
    "ring_bank.reference_kelvin": _RINGS + "test_temperature_moves_all_resonances_alike",
    "ring_bank.thermal_crosstalk": _RINGS + "test_heat_of_other_rings_moves_a_ring_unless_it_is_known",
    "ring_bank.pitch_m": _RINGS + "test_heat_of_other_rings_moves_a_ring_unless_it_is_known",
    "ring_bank.thermal_length_m": _RINGS + "test_heat_of_other_rings_moves_a_ring_unless_it_is_known",
    "ring_bank.grad": _RINGS + "test_the_gradient_is_the_true_derivative_or_one",
    "source.rin_db_per_hz": _LIGHT + "test_noise_that_inputs_share_grows_with_their_number_and_not_with_its_root",
    "source.bandwidth_hz": _LIGHT + "test_noise_that_inputs_share_grows_with_their_number_and_not_with_its_root",
    "source.channels_per_source": _LIGHT + "test_a_source_feeds_neighbouring_channels",
    "source.extinction_ratio_db": _LIGHT + "test_a_modulator_has_its_transfer_loss_and_dark_light",
    "source.insertion_loss_db": _LIGHT + "test_a_modulator_has_its_transfer_loss_and_dark_light",
    "source.transfer": _LIGHT + "test_a_modulator_has_its_transfer_loss_and_dark_light",
    "source.arms": _LIGHT + "test_a_modulator_has_its_transfer_loss_and_dark_light",
    "number_format.format": _FORMATS + "test_a_signal_is_rounded_to_the_numbers_of_its_format",
    "number_format.limit": _FORMATS + "test_a_signal_is_rounded_to_the_numbers_of_its_format",
    "number_format.rounding": _FORMATS + "test_rounding_is_that_of_the_format",
    "number_format.learned": _FORMATS + "test_a_learned_limit_receives_its_gradient",
    "number_format.grad": _FORMATS + "test_gradients_follow_their_rule",
    "quantize.levels": _STAGES + "test_a_specification_gives_exactly_its_levels",
    "quantize.low": _STAGES + "test_a_specification_gives_exactly_its_levels",
    "quantize.high": _STAGES + "test_a_specification_gives_exactly_its_levels",
    "quantize.rounding": _STAGES + "test_every_rounding_follows_its_definition_ties_included",
    "quantize.clip": _STAGES + "test_clip_before_and_after_differ_only_beyond_the_range_and_none_keeps_going",
    "quantize.grad": _STAGES + "test_gradient_rules_of_the_quantiser",
    "quantize.learned": _STAGES + "test_learned_ends_start_where_the_specification_says_and_receive_a_gradient",
    "scale.mode": _ARRAY + "test_an_average_scale_moves_in_training_only",
    "scale.full": _SUMS + "test_the_largest_magnitude_becomes_what_full_says",
    "scale.value": _ARRAY + "test_an_average_scale_moves_in_training_only",
    "scale.per": _ARRAY + "test_converters_and_scales_are_those_of_aihwkit",
    "scale.limit": _ARRAY + "test_a_scale_has_its_limit_and_its_gradient",
    "scale.momentum": _ARRAY + "test_an_average_scale_moves_in_training_only",
    "scale.retries": _ARRAY + "test_vectors_that_saturate_are_sent_again_at_half_their_size",
    "slices.bits": _ARRAY + "test_passes_add_up_to_the_input",
    "slices.slice_bits": _ARRAY + "test_passes_add_up_to_the_input",
    "slices.separate_signs": _ARRAY + "test_passes_add_up_to_the_input",
    "tiles.rows": _ARRAY + "test_each_tile_and_each_plane_is_converted_by_itself",
    "tiles.filled": _SUMS + "test_each_array_converts_the_sum_of_its_own_inputs",
    "tiles.columns": _ARRAY + "test_a_layer_takes_as_many_arrays_as_it_needs",
    "stuck.at_low": _DEVICE_STAGES + "test_the_shares_of_stuck_devices_are_those_of_the_specification",
    "stuck.at_high": _DEVICE_STAGES + "test_the_shares_of_stuck_devices_are_those_of_the_specification",
    "stuck.missing": _DEVICE_STAGES + "test_the_shares_of_stuck_devices_are_those_of_the_specification",
    "stuck.low_siemens": _DEVICE_STAGES + "test_the_shares_of_stuck_devices_are_those_of_the_specification",
    "stuck.high_siemens": _DEVICE_STAGES + "test_the_shares_of_stuck_devices_are_those_of_the_specification",
    "stuck.scope": _DEVICE_STAGES + "test_a_chip_is_its_seed_and_does_not_change_between_uses",
    "stuck.grad": _DEVICE_STAGES + "test_no_gradient_passes_a_stuck_device",
    "temperature.temperature_coefficient_per_kelvin": _DEVICE_STAGES
    + "test_temperature_changes_conductances_by_its_coefficient_and_activation_energy",
    "temperature.activation_ev": _DEVICE_STAGES + "test_temperature_changes_conductances_by_its_coefficient_and_activation_energy",
    "temperature.reference_kelvin": _DEVICE_STAGES + "test_temperature_changes_conductances_by_its_coefficient_and_activation_energy",
    "temperature.spread": _DEVICE_STAGES + "test_devices_differ_in_their_temperature_coefficient_by_the_spread",
    "temperature.scope": _DEVICE_STAGES + "test_a_chip_is_its_seed_and_does_not_change_between_uses",
    "wires.rows": _WIRES + "test_every_tile_is_solved_by_itself",
    "wires.columns": _WIRES + "test_every_tile_is_solved_by_itself",
    "wires.r_row_ohm": _WIRES + "test_each_resistance_is_that_of_its_wire",
    "wires.r_column_ohm": _WIRES + "test_each_resistance_is_that_of_its_wire",
    "wires.driven": _WIRES + "test_ends_are_those_of_the_network",
    "wires.sensed": _WIRES + "test_ends_are_those_of_the_network",
    "wires.method": _WIRES + "test_the_fast_method_is_near_the_exact_one_and_not_the_same",
    "wires.interleaved": _WIRES + "test_interleaved_planes_stand_on_common_columns_in_pairs",
    "fan_in": "tests/convert/test_to_neuromorphic.py::test_a_layer_with_too_many_inputs_is_an_error_that_names_it",
    "kelvin": _CONTROL + "test_time_and_temperature_scope_holds_until_one_of_them_changes",
    "valid": "tests/hardware/test_validity.py::test_a_profile_declares_its_ranges_with_sources",
    "cost": "tests/analysis/test_cost.py::test_energy_time_and_area_are_those_by_hand",
}
OF_THE_CHAIN = ("fan_in", "kelvin", "valid")  #: numbers that belong to no stage

OWN_KEYS = {"data": DataConfig.own_keys(), "model": ModelConfig.own_keys()}

_MADE = "<!-- Made by `python docs/make_reference.py`; change that, or the descriptions in the code, and not this file. -->\n"

_CONFIG_HEAD = """\
# Configs: every key

A config is one YAML file that says everything about a run: data, model, hardware, training, and what a sensitivity study is to do.
A short one:

```yaml
name: first
data: {kind: digits}
model: {kind: mlp, sizes: [64, 32, 10]}
hardware: {profile: photonic_avnn, seed: 17}
sensitivity: {chips: 10}
```

- `neurosim config check my.yaml` finds every mistake at once, each with file, line and the nearest valid spelling; `--resolved` prints the
  config with all defaults written out.
- `neurosim config schema > run.schema.json` and the first line `# yaml-language-server: $schema=run.schema.json` give completion and checks
  in an editor.
- `--set train.epochs=3` changes one value on the command line. The value is YAML: `--set 'data.value_range=[-1, 1]'`. A key that holds dots
  itself is part of such a value: `--set 'hardware.overrides={"*": {"*.noise.leakage": 0.2}}'`.
- `extends: base.yaml` (or a list) takes other files as base; what this file says wins, mapping by mapping. Paths are relative to the file;
  `pkg:analogvnn/digits_mlp.yaml` is a config that comes with the package.
- Numbers may be written `1e-3`. A key given twice, an unknown key and a number where a text must be are errors.
- A config names no code. Your own models, data sets and stages are registered by a file that is named on the command line:
  `--plugin my.py`; [the tutorial](tutorial.md) writes one.

In the tables, *required* stands where there is no default. A dot means nesting: `train.noise.redraw` is the key `redraw` of the mapping
`noise` of the mapping `train`.
"""

_NORMS_HEAD = """\
# Norms by name

Everything here that normalises, from `ns.NORMS`. A config takes any module for single samples, by its name or with its arguments:

```yaml
model:
  kind: mlp
  sizes: [64, 32, 10]
  norm: {kind: l1_layer, power_of_two: true}
```

and a model that is there already gets other norms with

```python
import neurosim as ns

model = ns.models.cnn([1, 8, 8], [8, 16], [], 10, batch_norm=True)
swapped = ns.swap_norm(model, "dyt")
print(swapped.swaps)
```

What both norms have stays: γ, β, running statistics, and settings such as ε if they are of one kind. `tdbn` takes the threshold of the
neurons that it feeds. A norm with a `forward` of its own, such as one with its activation inside, is refused: what it does beside would be
lost. With `adjust="variance"`, γ is multiplied by what makes the new norm's outputs as large as those of the old one;
`ns.swap_norm(model, "none")` takes norms away, and `ns.initialize(swapped, "lsuv", images)` gives weights that suit what is there now.
Models may be digital, on simulated hardware, or spiking.

Norms that know their depth (`layer_scaling`) are numbered by the model. What is no module is refused in a config with the words that say
how to use it. In [spiking models](spiking_models.md#by-name) `norm` takes these modules as well, on every step.

`ns.norms.LayerNorm(16)` makes one. Each answers `fold()`, with a scale and a shift or the reason why there are none, `hw_ops()` and
`bounds()`. `ns.fold(model)` folds what can be folded as a whole; `ns.convert.fold_affine`, `fold_centering` and `fold_gain` fold parts.

What acts on weights is a parametrization, of which `ns.fold` leaves the weights that it computes and nothing else; what replaces norms in
deep networks wraps a residual branch, and `ns.fold` makes its constants part of the layers in it:

```python
from torch import nn
from torch.nn.utils import parametrize

layer = nn.Linear(64, 32)
parametrize.register_parametrization(layer, "weight", ns.norms.ScaledWeightStandardization("gelu"))
block = ns.norms.NormFreeBranch(nn.Sequential(nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 32)), variance=1.04)
print(ns.fold(nn.Sequential(layer, block)).folding)
```

In a config, `weight_norm` names a parametrization of all layers but the last, of an `mlp`, a `cnn`, a residual or a spiking model:

```yaml
model: {kind: mlp, sizes: [64, 32, 10], activation: gelu, weight_norm: weight_standardization}
```

`weight_norm` and `gmp` start as the weights that `init` draws. `weight_standardization` and `weight_conditioning` take the scale of a row
away, and the first also its mean: initialisers that differ in scale alone are then the same in every layer but the last. So `kaiming` and
`xavier` with one seed give equal weights there, and a study of the two compares the last layer only. `lsuv` sets the gains of standardised
weights, and is refused with `weight_conditioning`.

The models `residual_mlp` and `residual_cnn` are deep networks of such blocks, with a `scheme` by name: `plain`, `fixup`, `skipinit`, `1/L`,
`1/√L`, `sws+nf`, `wn` or `selu`. A config adds adaptive gradient clipping and the norm loss to any model:

```yaml
model: {kind: residual_mlp, sizes: [64, 32, 10], depth: 50, scheme: fixup, activation: gelu}
train:
  clip: {kind: agc, limit: 0.05, skip: [head]}
  regularizer: {kind: norm_loss, strength: 0.001}
```

Norms of [spiking sequences](spiking_norms.md) and [excitatory-inhibitory layers](ei.md) have pages of their own.

**Places.** `Residual` puts any norm before, behind or around a branch, or on the stream; `residual_stack` makes a deep network of them,
with what belongs to its ends:

```python
from torch import nn

branches = [nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)) for _ in range(8)]
deep = ns.norms.residual_stack(branches, 16, "rms", "peri")
```

In a config, `model: {kind: residual_mlp, sizes: [64, 32, 10], norm: rms, placement: peri}` does the same, for any norm and the scheme
`plain`; `placement: none` leaves the norm out, so that a study can have it as a level. A [study](study.md) varies `model.norm`,
`model.placement`, `model.weight_norm` and `model.init` like any other key. `NormedAttention` and `normformer` have norms inside their
branches. On hardware, a norm behind the branch (`mid`, `peri`) bounds what the branch adds to the stream; `post` bounds the stream.

**Norms that go away.** A norm of F2 takes statistics of every sample, and nothing of that folds. `ns.freeze_statistics` makes the norms of
a model replace them, one after the other while it is trained on, by their averages; then all of it folds. Here without training, from
data alone:

```python
import torch

frozen = ns.freeze_statistics(deep, 0, torch.rand(64, 16))  # while training: schedule (100, 20) and no data
print(ns.fold(frozen.eval()).folding)
```

In a config of the models `mlp`, `cnn`, `residual_mlp` and `residual_cnn`, `freeze` beside the arguments of such a norm does it in every
layer: `model.norm: {kind: layer, freeze: [100, 20]}` freezes the first after 100 batches and each further one 20 batches later; all norms
of a residual block count as one. Other models are given to `ns.freeze_statistics`, spiking ones too. The norms count
the batches of training themselves, and a checkpoint holds all that they need. What is left of a layer norm is P x / σ̄, and both the
projection P and the scale go into weights. Of the stack above, the sixteen norms before and behind the branches go; the two at its ends,
which have no layer with weights beside them, stay.

**Replicas and checkpoints.** `DistributedDataParallel` wraps any of them. Each replica takes the statistics of its own batch; gradients are
averaged, and before every pass the buffers of the first replica replace those of the others, also what the backward passes of `online`,
`power` and `unified` keep. So running statistics are those of a share of the data, and the first replica is the one to save. A checkpoint
between two batches holds all that a norm keeps: training goes on from it bit by bit. torch pickles no layers with parametrized weights:
save `model.state_dict()` and load it into a model that is made in the same way (checkpoints of runs do), or make the weights plain first,
with `ns.fold(model)`. Copies by `copy.deepcopy` are fine, but share a class: `remove_parametrizations` of torch on one breaks the others.

**Cost.** Hardware pays, from the least to the most: nothing for what folds (FW, F0), a curve (F1), sums of magnitudes and a division (the
L1 norms of F2), squares and a root (RMS norms), a mean as well (layer norms), a product with a matrix and divisions (gdn, ei), and other
samples of the batch (F3). Operations are those in evaluation, not folded, of 16 channels with default settings: +, ×, ÷, √, and curves
such as tanh (f); first per element, then once for all elements that share a statistic. A comparison counts as an addition.
"""

_KINDS = {
    "module": "Modules: made with `features` first, from `(batch, C, *)` to the same shape",
    "wrapper": "Wrappers: around a product, a neuron or a branch",
    "parametrization": "Parametrizations: of weights, for `torch.nn.utils.parametrize`",
    "initialiser": "Initialisers: of a model",
    "regulariser": "Regularisers: a number to add to the loss",
    "procedure": "Procedures: on a model",
}

_HARDWARE_HEAD = """\
# Devices

A folder here is a device: `profile.yaml` holds its signal chain, every number with unit and source; `datasheet.md` explains it in words.
No Python is needed to write one: [docs/profiles.md](../docs/profiles.md) says how. `neurosim hardware show NAME` prints a profile as it is
understood, `neurosim hardware check FOLDER` tells what does not hold.

## The chain

One layer of a network is one chain around one matrix-vector product. The slots apply in this order; a slot that a profile leaves out does
nothing. Most slots hold any stage that acts on their signal; what a layer reads instead of applying it (scales, slices, a mapping, tiles,
ranges, a compensation) stands in the slot that says so, and is refused elsewhere. A config or a call of `ns.override` reaches a number by
slot and field: `output.adc.levels`, or several by a glob: `*.noise.leakage`.
"""


_NEURONS_HEAD = """\
A profile without a `bias` path has a digital bias, added after the last stage.

A layer of neurons has a chain of its own, which a profile gives under `neuron`. Its stages act on the current that arrives, on the
parameters of each neuron, on its potential and on its spikes, in this order. Full scale (`fs`) is the largest threshold of the layer,
rounded up to a power of two, and 1 for neurons that do not fire; for decays it is 1.
"""
_STAGES_HEAD = """\
## Stages

`kind` says which stage a slot holds. Numbers are given with their unit; the other fields are choices of the model.
"""
_LAWS_HEAD = """\
## Laws

What a field of a memory cell holds that depends on its conductance or on time: a mapping whose `kind` says which law it is.
[docs/devices.md](../docs/devices.md) explains them. Numbers "of the result" have the unit of the field that holds the law.
"""
_PROFILES = """\
## Profiles

Every number of every profile, by the key that reaches it. Its source stands in the file and in `neurosim hardware show`. A verified
number names the test that compares it with that source; for the others the test is that of the field.
"""


_STUDY_HEAD = """\
## The file of a study

`neurosim study` trains a config again and again, over the levels of factors and over seeds; [study.md](study.md) explains it. Its file is
another one than that of a run, with keys of its own:
"""


def config_page() -> str:
    """docs/config.md."""
    schema = json_schema()
    definitions: Mapping[str, Schema] = schema["$defs"]
    run = definitions["RunConfig"]
    blocks = {key: one for key, one in run["properties"].items() if _target(one, definitions)}
    plain = {key: one for key, one in run["properties"].items() if key not in blocks}
    parts = [_MADE + _CONFIG_HEAD, "## Top level\n\n" + _rows(_keys(plain, run.get("required", []), definitions))]
    for key, one in blocks.items():
        block = _target(one, definitions) or {}
        text = _sentence(one, definitions)
        if "oneOf" in block:
            parts.append(_component(key, text, [_target(each, definitions) or {} for each in block["oneOf"]], definitions))
        else:
            rows = list(_keys(block["properties"], block.get("required", []), definitions, f"{key}."))
            parts.append(f"## {key}\n\n{text}\n\n{_rows(rows)}" + "".join(_kinds(key, block, definitions)))
    return "\n".join([*parts, _study()])


def _study() -> str:
    """The keys of the file of a study."""
    definitions: Mapping[str, Schema] = study_schema()["$defs"]
    study, metric = definitions["StudyConfig"], definitions["StudyMetric"]
    own = {key: one for key, one in study["properties"].items() if key != "extends"}
    rows = list(_keys(own, study["required"], definitions))
    rows += _keys(metric["properties"], metric["required"], definitions, "metrics.NAME.")
    return f"{_STUDY_HEAD}\n{_rows(rows)}"


def _component(key: str, text: str, kinds: list[Schema], definitions: Mapping[str, Schema]) -> str:
    """A block whose ``kind`` decides what else may stand in it."""
    shared = {name: one for name, one in kinds[0]["properties"].items() if name in OWN_KEYS[key] and name != "kind"}
    names = ", ".join(f"`{kind['properties']['kind']['const']}`" for kind in kinds)
    words = f"`{key}.kind` is one of {names}, or what a plugin registers. Beside it stand the arguments of that kind, and:"
    parts = [f"## {key}\n\n{text} {words}\n\n{_rows(_keys(shared, [], definitions, f'{key}.'))}"]
    for kind in kinds:
        own = {name: one for name, one in kind["properties"].items() if name not in shared and name != "kind"}
        rows = list(_keys(own, kind.get("required", []), definitions, f"{key}."))
        title = f"\n### {key}: {{kind: {kind['properties']['kind']['const']}}}\n\n{_clean(kind.get('description', ''))}\n"
        parts.append(title + ("\n" + _rows(rows) if rows else "\nNo arguments.\n"))
    return "".join(parts)


def _kinds(key: str, block: Schema, definitions: Mapping[str, Schema]) -> Iterator[str]:
    """Sections for the keys of a block that choose among kinds: ``train.optimizer``."""
    for name, one in block["properties"].items():
        for choice in [each for some in one.get("anyOf", [one]) for each in some.get("oneOf", [])]:
            kind = _target(choice, definitions)
            if kind is not None:
                own = {inner: value for inner, value in kind["properties"].items() if inner != "kind"}
                title = f"{key}.{name}: {{kind: {kind['properties']['kind']['const']}}}"
                yield f"\n### {title}\n\n{_clean(kind['description'])}\n\n{_rows(_keys(own, [], definitions, f'{key}.{name}.'))}"


def _keys(
    properties: Mapping[str, Schema], required: Sequence[str], definitions: Mapping[str, Schema], prefix: str = ""
) -> Iterator[list[str]]:
    """Key, what it may be, default, meaning; the keys of a mapping follow it."""
    for name, one in properties.items():
        inner = _target(one, definitions)
        nested = inner is not None and "properties" in inner
        allowed = allowed_text(one, definitions)
        default = "" if nested and one.get("default") is not None else f"`{_value(one.get('default', {}))}`"
        default = "*required*" if name in required else default
        yield [f"`{prefix}{name}`", allowed, default, _sentence(one, definitions)]
        if nested and inner is not None:
            yield from _keys(inner["properties"], inner.get("required", []), definitions, f"{prefix}{name}.")


def _target(one: Schema, definitions: Mapping[str, Schema]) -> Schema | None:
    """The definition that a schema refers to, alone or as an alternative to null."""
    alternatives = [each for each in one.get("anyOf", [one]) if each.get("type") != "null"]
    reference = alternatives[0].get("$ref") if len(alternatives) == 1 else None
    found = definitions[reference.removeprefix("#/$defs/")] if reference else None
    return found or None


def _sentence(one: Schema, definitions: Mapping[str, Schema]) -> str:
    own, target = one.get("description", ""), (_target(one, definitions) or {}).get("description", "")
    choice = "One of the kinds below." if "discriminator" in one else ""
    return re.sub(r"\bnull:", "`null`:", _clean(" ".join(text for text in (target, own, choice) if text)))


def allowed_text(one: Schema, definitions: Mapping[str, Schema]) -> str:
    """What a value may be, in words.

    >>> allowed_text({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, {})
    'number (≥ 0, < 1)'
    """
    if "const" in one:
        return f"`{_value(one['const'])}`"
    if "enum" in one:
        return ", ".join(f"`{value}`" for value in one["enum"])
    alternatives = one.get("anyOf", one.get("oneOf"))
    if alternatives and "discriminator" in one:
        return "mapping with `kind`: " + ", ".join(f"`{kind}`" for kind in one["discriminator"]["mapping"])
    if alternatives:
        texts = dict.fromkeys(allowed_text(each, definitions) for each in alternatives)
        return " or ".join(text for text in texts if not (text == "text" and "path" in texts))
    if "$ref" in one:
        return "mapping" if _target(one, definitions) else "any value"
    if one.get("type") == "array":
        if "prefixItems" in one:
            return "[" + "; ".join(allowed_text(each, definitions) for each in one["prefixItems"]) + "]"
        least, most = one.get("minItems"), one.get("maxItems")
        count = f"{least} × " if least and least == most else ""
        return f"list of {count}{allowed_text(one['items'], definitions)}" + (f", at least {least}" if least and not count else "")
    words = {"string": "text", "boolean": "true or false", "object": "mapping", "null": "null"}
    kind = str(one.get("type", "any value"))
    text = "path" if one.get("format") == "path" else words.get(kind, kind)
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = ", ".join(f"{sign} {_value(one[bound])}" for bound, sign in signs.items() if bound in one)
    return f"{text} ({bounds})" if bounds else text


def _value(value: Any) -> str:
    if isinstance(value, int) and value == 1 << 63:
        return "2⁶³"
    if isinstance(value, float):
        return re.sub(r"e([+-])0*", r"e\1", f"{value:g}")
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, dict) and "kind" in value:
        return f"{{kind: {value['kind']}}}"
    return str(value) if isinstance(value, str) else json.dumps(value)


def _clean(text: str) -> str:
    """Docstring text as Markdown."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")
    return re.sub(r"\s+", " ", text).strip()


def _rows(rows: Iterator[list[str]] | list[list[str]], head: Sequence[str] = ("key", "what it may be", "default", "meaning")) -> str:
    lines = [list(head), ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def norms_page() -> str:
    """docs/norms.md."""
    classes = [[f"{name}", words] for name, words in FOLD_CLASSES.items()]
    parts = [_MADE + _NORMS_HEAD, "## Classes of folding\n\n" + _rows(classes, ("class", "meaning"))]
    for kind, title in _KINDS.items():
        shown = ("formula", "statistics", "fold", "operations", "bounds", "summary", "source")
        rows = [[f"`{row['name']}`", *(_clean(row[name]) for name in shown)] for row in table_of_norms() if row["kind"] == kind]
        if rows:
            parts.append(
                f"## {title}\n\n" + _rows(rows, ("name", "formula", "statistics", "fold", "operations", "bounds", "what it is", "source"))
            )
    return "\n".join(parts)


def hardware_page() -> str:
    """hardware/README.md."""
    parts = [_MADE + _HARDWARE_HEAD]
    rows = _slot_rows(ChainSpec.paths)
    texts = descriptions(ChainSpec)
    rows += [[f"`{name}`", _clean(texts[name]) + f" Test: {_test(COVERED[name])}."] for name in OF_THE_CHAIN]
    parts.append(_rows(rows, ("slot", "what it stands for")))
    parts += [_NEURONS_HEAD, _rows(_slot_rows(NeuronSpec.paths), ("slot", "what it stands for"))]
    parts += [_STAGES_HEAD, *map(_stage, ns.STAGES), _LAWS_HEAD, *map(_law, LAWS), _PROFILES]
    parts += [_profile(ns.load_profile(name)) for name in ns.list_profiles()]
    return "\n".join(parts)


def _slot_rows(paths: Mapping[str, type[BaseModel]]) -> list[list[str]]:
    return [[f"`{path}.{slot}`", _clean(text)] for path, part in paths.items() for slot, text in descriptions(part).items()]


def _stage(kind: str) -> str:
    spec = ns.STAGES[kind].spec
    module = importlib.import_module(spec.__module__)
    file = Path(inspect.getfile(spec)).relative_to(ROOT).as_posix()
    near = (spec.__module__, "neurosim.hardware.devices")
    public = [one for name, one in vars(module).items() if inspect.isfunction(one) and one.__module__.startswith(near) and name[0] != "_"]
    effects = [one for one in public if next(iter(inspect.signature(one).parameters)) == "x"] or public
    functions = "".join(f", function `{one.__name__}`" for one in effects)
    schema = spec.model_json_schema()
    rows, texts = [], descriptions(spec)
    for name, info in _fields(spec).items():
        one = schema["properties"][name]
        default = "*required*" if info.is_required() else f"`{_value(info.default)}`"
        unit = " or ".join(units_of(info, name)) if is_number(one) or is_law(one) else ""
        allowed = "[law](#laws)" if is_law(one) else allowed_text(one, schema.get("$defs", {}))
        rows.append([f"`{name}`", unit, allowed, default, _clean(texts[name]), _test(COVERED[f"{kind}.{name}"])])
    title = f"### {kind}\n\n{_clean((spec.__doc__ or '').splitlines()[0])} File: [{file}](../{file}){functions}.\n\n"
    return title + _rows(rows, ("field", "unit", "what it may be", "default", "meaning", "test"))


def _profile(profile: ns.Profile) -> str:
    stages, rows = profile.slots, []
    for key, quantity in profile.provenance.items():
        slot, name = slot_and_field(key, stages)
        kind = stages[slot].kind if slot else ""
        test = quantity.test if quantity.verified else COVERED[f"{kind}.{name.partition('.')[0]}" if slot else name.partition(".")[0]]
        stage = f"[{kind}](#{kind})" if slot else "[cost](../docs/cost.md)" if name.startswith("cost.") else "the chain"
        rows.append([f"`{key}`", quantity.shown, quantity.unit, stage, "yes" if quantity.verified else "", _test(test)])
    text = f"### {profile.name}\n\n{profile.summary}. [Profile]({profile.name}/profile.yaml), [datasheet]({profile.name}/datasheet.md).\n\n"
    missing = "".join(f"- {effect}\n" for effect in profile.not_modelled)
    return text + _rows(rows, ("key", "value", "unit", "stage", "verified", "test")) + (f"\nNot modelled:\n\n{missing}" if missing else "")


def is_number(one: Schema) -> bool:
    """Whether a field is a number, which a profile gives with unit and source."""
    return any(each.get("type") in ("number", "integer") for each in one.get("anyOf", [one]))


def is_law(one: Schema) -> bool:
    """Whether a field holds a law, whose numbers a profile gives with unit and source."""
    return any("discriminator" in each for each in one.get("anyOf", [one]))


def _law(law: type[BaseModel]) -> str:
    schema = law.model_json_schema(mode="serialization")
    schema = schema if "properties" in schema else schema["$defs"][law.__name__]
    rows, texts = [], descriptions(law)
    for name, info in _fields(law).items():
        one = schema["properties"][name]
        default = "*required*" if info.is_required() else f"`{_value(info.default)}`"
        unit = " or ".join(units_of(info, name)) if not is_law(one) and "number" in json.dumps(one) else ""
        rows.append([f"`{name}`", unit, "law" if is_law(one) else _laws_text(one), default, _clean(texts[name])])
    head = f"### {law.model_fields['kind'].default}\n\n{_clean((law.__doc__ or '').splitlines()[0])}\n\n"
    return head + _rows(rows, ("field", "unit", "what it may be", "default", "meaning"))


def _laws_text(one: Schema) -> str:
    return "list of laws" if is_law(one.get("items", {})) else allowed_text(one, {})


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {name: one for name, one in model.model_fields.items() if name != "kind"}


def _test(name: str) -> str:
    file, _, function = name.partition("::")
    return f"[{function.removeprefix('test_').replace('_', ' ')}](../{file})"


PAGES = {
    "docs/config.md": config_page,
    "docs/activations.md": page_of_activations,
    "docs/norms.md": norms_page,
    "hardware/README.md": hardware_page,
}

if __name__ == "__main__":
    for place, page in PAGES.items():
        (ROOT / place).write_text(page(), encoding="utf-8")
        print(place)
