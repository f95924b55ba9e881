"""Small mistakes put into the source one at a time, and the tests that must notice each.

    python benchmarks/mutations.py [--only NAME]

The named tests first pass as the source is, all together; then each mutation is applied to a copy of the
checkout's tracked files and its tests must fail there. Exit status 1 if one survives, or if its text is no
longer found exactly once. Add a row for whatever a test is written to notice; minutes, so by hand.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
FAILED = 1
"""Exit status of pytest when tests ran and some failed; others mean that nothing was judged."""


@dataclass(frozen=True)
class Mutation:
    """``old``, once in ``file`` below src/canopyflow, becomes ``new``; ``tests``: arguments of pytest."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


TRAINER = "tests/unit/training/test_trainer.py"
LOOP = "tests/unit/training/test_loop.py"
SOURCES = "tests/laws/test_sources.py"
ENCODERS = "tests/laws/test_encoders.py"
PIXEL = "tests/unit/models/encoders/test_pixel.py"
GENERATIVE = "tests/laws/test_generative.py"
LIGHT = "tests/unit/physics/test_light.py"
PROSAIL = "tests/unit/models/generative/test_prosail.py"
ESTIMATORS = "tests/laws/test_estimators.py"
DOMAIN = "tests/unit/training/test_domain.py"
SUMMARIES = "tests/unit/inference/test_summaries.py"
HTTP = "tests/unit/archive/test_http.py"
SIGNING = "tests/unit/archive/test_signing.py"
CATALOGUE = "tests/unit/archive/test_catalogue.py"
GEOTIFF = "tests/unit/archive/test_geotiff.py"
ASSETS = "tests/unit/archive/test_assets.py"
FETCHING = "tests/unit/cubes/test_fetching.py"
JUDGEMENT = "tests/unit/archive/test_judgement.py"
HARMONISE = "tests/unit/archive/test_harmonise.py"
EVIDENCE = "tests/unit/cubes/test_evidence.py"
MAPS = "tests/unit/inference/test_maps.py"
DOUBTS = MAPS + "::test_doubts_of_the_masks_become_flags_and_drop_no_pixel"
HOLE = MAPS + "::test_a_clear_pixel_without_a_finite_posterior_is_an_error_not_a_hole"
SAYS = MAPS + "::test_a_product_says_how_it_was_made_not_what_was_wished"
CUT = MAPS + "::test_a_part_that_was_cut_short_is_an_error_not_a_chunk"
ENCODING = "tests/unit/inference/test_encoding.py"
LAYOUT = "tests/unit/cubes/test_layout.py"
ESTIMATES = (
    "tests/unit/campaigns/test_estimates.py"
    "::test_a_map_is_given_the_time_of_draws_if_its_model_has_no_good_summaries"
)
BATCHES = "tests/unit/cubes/test_batches.py"
TABLES = "tests/unit/inference/test_tables.py"
IMPORTANCE = "tests/unit/samplers/test_importance.py"
REFERENCE = "tests/unit/evaluation/against/test_reference_posterior.py"
PLOTS = (
    "tests/unit/evaluation/against/test_plots.py::test_ties_go_to_the_earlier_day_then_the_tile_then_the_item"
)
DIGEST = "tests/unit/test_atomic.py::test_a_digest_is_that_of_names_and_contents"
NEW = "::test_noise_order_and_draws_are_new_in_each_step_epoch_and_phase"
WORDS = '            words = ("step", s.seed, position.phase, position.epoch, step)\n'
PARTS = """\
        self._held = [part for name, part in parts.items() if name not in goal.trains]
        self._trained = [
            parameter
            for name, parameter in model.named_parameters()
            if name.split(".")[0] in goal.trains and parameter.requires_grad
        ]
"""
ORDER = 'generator("order", s.seed, position.phase, position.epoch)'

MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        "light from the soil is not absorbed",
        "physics/light.py",
        "coupling = soil /",
        "coupling = 0.0 * soil /",
        (LIGHT,),
    ),
    Mutation(
        "light between soil and canopy bounces once",
        "physics/light.py",
        "(1.0 - soil * rdd)",
        "(1.0 - 0.0 * soil * rdd)",
        (LIGHT,),
    ),
    Mutation(
        "leaves absorb only the sun's beam",
        "physics/light.py",
        "p, q = (sf + sb * rinf) * j1, (sf * rinf + sb) * j2",
        "p, q = sf * j1, sb * j2",
        (LIGHT,),
    ),
    Mutation(
        "the ground seen by squared cosines",
        "physics/light.py",
        "-lai * weighted(share, 1)",
        "-lai * weighted(share, 2)",
        (LIGHT,),
    ),
    Mutation(
        "dry and wet soil swapped below absorbed light",
        "physics/light.py",
        "mixture = torch.stack([brightness * dry, brightness * (1.0 - dry)])",
        "mixture = torch.stack([brightness * (1.0 - dry), brightness * dry])",
        (LIGHT,),
    ),
    Mutation(
        "light absorbed from the sensor's side",
        "models/generative/prosail.py",
        "given.geometry[..., 0]",
        "given.geometry[..., 1]",
        (PROSAIL,),
    ),
    Mutation(
        "light absorbed by leaves of another model",
        "models/generative/prosail.py",
        "self.fapar = Fapar(leaf)",
        "self.fapar = Fapar()",
        (PROSAIL,),
    ),
    Mutation(
        "noise left out of what is observed",
        "models/generative/prosail.py",
        "noisy = self.noise.sample(sample.seen.reflectance, generator)",
        "noisy = sample.seen.reflectance",
        (f"{TRAINER}::test_a_run_sees_the_noise_of_its_campaign",),
    ),
    Mutation(
        "default noise in place of the campaign's",
        "models/generative/prosail.py",
        "noisy = self.noise.sample(sample.seen.reflectance, generator)",
        "noisy = NoiseModel().sample(sample.seen.reflectance, generator)",
        (f"{TRAINER}::test_a_run_sees_the_noise_of_its_campaign",),
    ),
    Mutation(
        "the campaign's noise not handed to the model",
        "models/generative/prosail.py",
        "self.noise = NoiseModel(**(noise or {}))",
        "self.noise = NoiseModel()",
        (f"{TRAINER}::test_a_run_sees_the_noise_of_its_campaign",),
    ),
    Mutation(
        "batches without noise",
        "training/trainer.py",
        "return Sample(self.model.generative.observe(rows, g), rows.truth, rows.noise_free)",
        "return rows",
        (f"{TRAINER}::test_a_run_sees_the_noise_of_its_campaign",),
    ),
    Mutation(
        "noise added to what was observed",
        "models/generative/prosail.py",
        "reflectance = torch.where(sample.noise_free[:, None], noisy, sample.seen.reflectance)",
        "reflectance = noisy",
        (f"{TRAINER}::test_every_phase_looks_at_its_own_data",),
    ),
    Mutation(
        "encoder blind to platform",
        "models/encoders/pixel.py",
        "nn.functional.one_hot(self.own[seen.platform], self.platforms)",
        "nn.functional.one_hot(0 * self.own[seen.platform], self.platforms)",
        (f"{ENCODERS}::test_the_platform_is_looked_at",),
    ),
    Mutation(
        "encoder blind to geometry",
        "models/encoders/pixel.py",
        "torch.cos(torch.deg2rad(seen.geometry))",
        "torch.cos(torch.deg2rad(0.0 * seen.geometry))",
        (f"{ENCODERS}::test_every_angle_is_looked_at",),
    ),
    Mutation(
        "encoder blind to the azimuth alone",
        "models/encoders/pixel.py",
        "torch.cos(torch.deg2rad(seen.geometry))",
        "torch.cos(torch.deg2rad(seen.geometry * seen.geometry.new_tensor([1.0, 1.0, 0.0])))",
        (f"{ENCODERS}::test_every_angle_is_looked_at",),
    ),
    Mutation(
        "the encoder's clip removed",
        "models/encoders/pixel.py",
        "torch.asinh(reflectance.clamp(min=REFLECTANCE_FLOOR) / _STRETCH)",
        "torch.asinh(reflectance / _STRETCH)",
        (f"{PIXEL}::test_the_pixel_encoder_clips_as_a_product_is_clipped",),
    ),
    Mutation(
        "incomplete spectra encoded as they are",
        "models/encoders/pixel.py",
        "if not seen.complete:",
        "if False:",
        (
            f"{ENCODERS}::test_an_invalid_entry_is_refused_or_matters_to_nobody",
            f"{PIXEL}::test_the_pixel_encoder_needs_complete_spectra",
        ),
    ),
    Mutation(
        "a simulation's bands in the store's order",
        "observations/sources/simulations.py",
        'store["reflectance"].sel(band=list(bands)).values',
        'store["reflectance"].isel(band=slice(len(bands))).values',
        (f"{SOURCES}::test_bands_come_in_the_order_that_is_asked_for[simulations]",),
    ),
    Mutation(
        "a patch's bands in the store's order",
        "observations/sources/patches.py",
        "columns = [cube.bands.index(band) for band in bands]",
        "columns = sorted(cube.bands.index(band) for band in bands)",
        (f"{SOURCES}::test_bands_come_in_the_order_that_is_asked_for[patches]",),
    ),
    Mutation(
        "an observation's bands in its own order",
        "observations/observation.py",
        "columns = torch.tensor([self.bands.index(band) for band in wanted], device=self.reflectance.device)",
        "columns = torch.tensor(sorted(self.bands.index(b) for b in wanted), device=self.reflectance.device)",
        ("tests/unit/observations/test_observation.py::test_bands_are_chosen_and_ordered_by_name",),
    ),
    Mutation(
        "inference in the order of the scene's bands",
        "models/estimators/contract.py",
        "return seen.in_bands(self.generative.bands)",
        "return seen",
        (f"{ESTIMATORS}::test_bands_in_another_order_give_the_same",),
    ),
    Mutation(
        "any platform taken",
        "models/estimators/contract.py",
        "if PLATFORMS[index] not in known:",
        "if False:",
        (f"{ESTIMATORS}::test_what_the_model_cannot_know_is_refused[sampled]",),
    ),
    Mutation(
        "every phase trained on the first one's data",
        "training/trainer.py",
        'self.phases[position.phase], self.data[position.phase]["train"]',
        'self.phases[position.phase], self.data[0]["train"]',
        (f"{TRAINER}::test_every_phase_looks_at_its_own_data",),
    ),
    Mutation(
        "every phase validated on the first one's data",
        "training/trainer.py",
        'data = self.data[self.state.position.phase]["validation"]',
        'data = self.data[0]["validation"]',
        (f"{TRAINER}::test_every_phase_looks_at_its_own_data",),
    ),
    Mutation(
        "same noise and draws in each epoch",
        "training/trainer.py",
        WORDS,
        WORDS.replace(" position.epoch,", ""),
        (TRAINER + NEW,),
    ),
    Mutation(
        "same noise and draws in each phase",
        "training/trainer.py",
        WORDS,
        WORDS.replace(" position.phase,", ""),
        (TRAINER + NEW,),
    ),
    Mutation(
        "same noise and draws in each step",
        "training/trainer.py",
        WORDS,
        WORDS.replace(", step)", ")"),
        (TRAINER + NEW,),
    ),
    Mutation(
        "same draws in each step",
        "training/trainer.py",
        'torch.manual_seed(seed_of("draws", *words))',
        'torch.manual_seed(seed_of("draws"))',
        (TRAINER + NEW,),
    ),
    Mutation(
        "same order in each epoch",
        "training/trainer.py",
        ORDER,
        ORDER.replace(", position.epoch", ""),
        (TRAINER + NEW,),
    ),
    Mutation(
        "same order in each phase",
        "training/trainer.py",
        ORDER,
        ORDER.replace(", position.phase", ""),
        (TRAINER + NEW,),
    ),
    Mutation(
        "the store's order in each epoch",
        "training/trainer.py",
        "rows = data.rows(order[step * s.batch_size : (step + 1) * s.batch_size])",
        "rows = data.rows(slice(step * s.batch_size, (step + 1) * s.batch_size))",
        (TRAINER + NEW,),
    ),
    Mutation(
        "other draws at each validation",
        "training/trainer.py",
        'torch.manual_seed(seed_of("validation", self.plan.seed, position.phase))',
        'torch.manual_seed(seed_of("validation", self.plan.seed, position.phase, position.epoch))',
        (f"{TRAINER}::test_validation_has_the_same_pixels_noise_and_draws_in_every_epoch",),
    ),
    Mutation(
        "the rule's noise not handed to training",
        "../../scripts/train.py",
        ', "noise": params.noise}',
        "}",
        (f"{LOOP}::test_the_rule_s_script_hands_on_what_the_campaign_says",),
    ),
    Mutation(
        "other noise in validation at each run",
        "training/trainer.py",
        'self._noisy(data.rows(piece), "validation", seed, i)',
        'self._noisy(data.rows(piece), "validation", torch.seed(), i)',
        (f"{LOOP}::test_same_seed_same_bits_and_other_seed_other_bits",),
    ),
    Mutation(
        "only the first objective of a cycle has a turn",
        "training/trainer.py",
        "player = players[done % len(players)]",
        "player = players[0]",
        (f"{TRAINER}::test_objectives_of_a_cycle_take_turns_and_each_changes_only_what_it_trains",),
    ),
    Mutation(
        "turns begin anew in each epoch",
        "training/trainer.py",
        "player = players[done % len(players)]",
        "player = players[step % len(players)]",
        (f"{TRAINER}::test_objectives_of_a_cycle_take_turns_and_each_changes_only_what_it_trains",),
    ),
    Mutation(
        "an objective moves what it does not train",
        "training/trainer.py",
        PARTS,
        "        self._held, self._trained = [], list(model.parameters())\n",
        (f"{TRAINER}::test_objectives_of_a_cycle_take_turns_and_each_changes_only_what_it_trains",),
    ),
    Mutation(
        "momentum lost on resume",
        "training/trainer.py",
        "        if position.epoch:\n",
        "        if False:\n",
        (f"{TRAINER}::test_a_cycle_interrupted_anywhere_ends_in_the_same_bits",),
    ),
    Mutation(
        "fit threshold at another quantile",
        "training/trainer.py",
        "1.0 - _MISFITS",
        "0.99",
        (f"{TRAINER}::test_the_fit_threshold_is_exceeded_by_two_simulations_in_a_thousand",),
    ),
    Mutation(
        "flags set on spectra without noise",
        "training/trainer.py",
        'seen = self._noisy(self.held_back.to(self.device), "held back", seed).seen',
        "seen = self.held_back.to(self.device).seen",
        (f"{TRAINER}::test_flags_are_set_on_noisy_spectra_of_no_training",),
    ),
    Mutation(
        "false alarms counted where the limits were set",
        "training/trainer.py",
        "seen.rows(slice(0, half)), seen.rows(slice(half, None))",
        "seen.rows(slice(0, half)), seen.rows(slice(0, half))",
        (f"{TRAINER}::test_flags_are_set_on_noisy_spectra_of_no_training",),
    ),
    Mutation(
        "one limit for all numbers of bands",
        "training/domain.py",
        "valid=order < count",
        "valid=order < bands",
        (f"{DOMAIN}::test_of_the_laws_own_spectra_as_many_are_outside_as_was_aimed_at",),
    ),
    Mutation(
        "domain learned on complete pixels alone",
        "training/domain.py",
        "_incomplete(_cut_off(replace(seen, reflectance=x), g), g)",
        "_cut_off(replace(seen, reflectance=x), g)",
        (f"{DOMAIN}::test_log_odds_are_the_ratio_of_the_densities",),
    ),
    Mutation(
        "misfit of few bands judged like that of all",
        "inference/summaries.py",
        "chdtri(np.maximum(count, 1), least) / np.maximum(count, 1)",
        "chdtri(np.full_like(count, len(seen.bands)), least) / len(seen.bands)",
        (f"{SUMMARIES}::test_a_misfit_is_as_rare_whatever_bands_there_are",),
    ),
    Mutation(
        "fit divided by bands - 1",
        "models/generative/contract.py",
        "count = len(seen.bands) if seen.complete else seen.valid.sum(-1)",
        "count = (len(seen.bands) if seen.complete else seen.valid.sum(-1)) - 1",
        (f"{GENERATIVE}::test_the_truth_fits_by_one",),
    ),
    Mutation(
        "fit divided by all bands where some are not valid",
        "models/generative/contract.py",
        "count = len(seen.bands) if seen.complete else seen.valid.sum(-1)",
        "count = len(seen.bands)",
        (f"{GENERATIVE}::test_the_truth_fits_by_one",),
    ),
    Mutation(
        "invalid entries counted",
        "models/generative/prosail.py",
        "return None if seen.complete else seen.valid",
        "return None",
        (f"{GENERATIVE}::test_what_stands_under_an_invalid_entry_changes_no_bit",),
    ),
    Mutation(
        "probit coordinates without their Jacobian",
        "models/generative/contract.py",
        "return self.log_joint(self.from_probit(w), seen) - 0.5 * w.square().sum(-1)",
        "return self.log_joint(self.from_probit(w), seen)",
        (f"{GENERATIVE}::test_the_density_in_probit_coordinates_carries_their_jacobian",),
    ),
    Mutation(
        "platforms counted as the model lists them",
        "models/generative/prosail.py",
        "platform=self.own[given.platform]",
        "platform=given.platform % len(self.platforms)",
        (f"{PROSAIL}::test_platforms_are_numbered_as_everywhere_whatever_the_model_lists",),
    ),
    Mutation(
        "a pause that a server asks for ignored",
        "archive/http.py",
        "            seconds += failure.wait\n",
        "            seconds += 0\n",
        (f"{HTTP}::test_retry_after_is_obeyed_on_every_path",),
    ),
    Mutation(
        "a broken body fetched again from its start",
        "archive/http.py",
        "        first = self.start + self.have\n",
        "        self.have = self.sink.seek(0)\n        first = self.start\n",
        (f"{HTTP}::test_a_broken_body_is_continued_and_not_started_again",),
    ),
    Mutation(
        "a dead archive taken for a bad file",
        "archive/http.py",
        "if failure.alive or self._alive(url, began):",
        "if True:",
        (f"{HTTP}::test_a_dead_archive_is_told_from_a_bad_file",),
    ),
    Mutation(
        "parts of two files mixed",
        "archive/http.py",
        "        if size_fits and same_etag(known.etag, answer.etag):",
        "        if True:",
        (f"{HTTP}::test_a_file_that_changes_between_requests",),
    ),
    Mutation(
        "another range taken for the one asked for",
        "archive/http.py",
        "if span.first != first or ",
        "if ",
        (f"{HTTP}::test_a_part_that_is_another_one_or_ends_too_early",),
    ),
    Mutation(
        "a key sent along to another host",
        "archive/http.py",
        "if self._host(target) is not self._host(url):",
        "if False:",
        (f"{HTTP}::test_redirects_are_followed_within_http_and_keys_stay_at_home",),
    ),
    Mutation(
        "a token kept until it is refused",
        "archive/signing.py",
        "if token is None or self._clock() >= token.renew_at:",
        "if token is None:",
        (f"{SIGNING}::test_a_token_is_renewed_before_its_end",),
    ),
    Mutation(
        "an error page taken for the last page of a search",
        "archive/catalogue.py",
        ' or (searches and not isinstance(answer.get("features"), list))',
        "",
        (f"{CATALOGUE}::test_a_page_that_holds_no_items_is_not_the_last",),
    ),
    Mutation(
        "a search that ends at an empty page",
        "archive/catalogue.py",
        '            if page.get("features"):\n                yield page\n',
        '            if not page.get("features"):\n                return\n            yield page\n',
        (f"{CATALOGUE}::test_an_empty_page_is_not_the_last_and_a_circle_is_seen",),
    ),
    Mutation(
        "a mask of a GeoTIFF left behind",
        "archive/geotiff.py",
        "if self.number(fields, SUBFILE, 0) & MASK:",
        "if False:",
        (f"{GEOTIFF}::test_files_that_must_be_read_whole_say_so",),
    ),
    Mutation(
        "a block table of zeros taken for no data",
        "archive/geotiff.py",
        "if ((starts == 0) != (sizes == 0)).any():",
        "if False:",
        (f"{GEOTIFF}::test_a_table_of_zeros_or_half_of_one_is_an_error",),
    ),
    Mutation(
        "a damaged block taken for pixels",
        "archive/geotiff.py",
        "if not stream.eof or len(pixels) < length:",
        "if len(pixels) < length:",
        (f"{GEOTIFF}::test_a_damaged_block_is_an_error_where_it_has_a_checksum",),
    ),
    Mutation(
        "the last block of a window left out",
        "archive/geotiff.py",
        "-(-rows.stop // height)",
        "rows.stop // height",
        (f"{GEOTIFF}::test_copied_blocks_are_the_files_own_pixels",),
    ),
    Mutation(
        "unpacked blocks in another byte order",
        "archive/geotiff.py",
        "dtype=kind, out=np.empty_like(numbers))",
        "dtype=kind)",
        (f"{GEOTIFF}::test_copied_blocks_are_the_files_own_pixels",),
    ),
    Mutation(
        "a local file that changed since it was pinned is read",
        "archive/originals.py",
        'if asset.get("file:size") not in (None, self.size):',
        "if False:",
        (f"{ASSETS}::test_what_was_pinned_is_what_must_come",),
    ),
    Mutation(
        "the item's word on where a file lies not scaled to the file",
        "archive/assets.py",
        "across, down = columns / shape[1], rows / shape[0]",
        "across, down = 1, 1",
        (f"{ASSETS}::test_a_file_that_does_not_say_where_it_lies",),
    ),
    Mutation(
        "pixels that contradict the offset ignored",
        "cubes/scenes.py",
        "if judgement.verdict == CONTRADICTED:",
        "if False:",
        (f"{FETCHING}::test_pixels_that_contradict_the_declared_offset",),
    ),
    Mutation(
        "what a killed job wrote of a scene stays in its slot",
        "cubes/growing.py",
        "        for array in SLOTS:\n            shutil.rmtree",
        "        for array in ():\n            shutil.rmtree",
        (f"{FETCHING}::test_a_killed_fetch_goes_on_with_the_scene_it_had_come_to",),
    ),
    Mutation(
        "scenes made by other code taken over",
        "cubes/scenes.py",
        "asdict(settings), code])",
        "asdict(settings)])",
        (f"{FETCHING}::test_other_settings_or_code_fetch_everything",),
    ),
    Mutation(
        "a scene set aside taken for one that is here",
        "cubes/growing.py",
        'return record is not None and record["problem"] is None',
        "return record is not None",
        (f"{FETCHING}::test_a_scene_that_cannot_be_had_is_set_aside_and_tried_again",),
    ),
    Mutation(
        "an archive that is down fails what had been set aside before",
        "cubes/scenes.py",
        "if former is None:",
        "if True:",
        (f"{FETCHING}::test_an_archive_that_is_gone_fails_the_job_and_what_was_fetched_is_kept",),
    ),
    Mutation(
        "offset still in is believed",
        "archive/judgement.py",
        "if _darkest(green) < OFFSET_FLOOR:",
        "if _darkest(green) > OFFSET_FLOOR:",
        (f"{JUDGEMENT}::test_vegetation_supports_what_is_right_and_contradicts_what_is_wrong",),
    ),
    Mutation(
        "desert taken for vegetation by its class",
        "archive/judgement.py",
        "< GREEN:",
        "< 0:",
        (f"{JUDGEMENT}::test_desert_that_is_classified_as_vegetation_is_no_vegetation",),
    ),
    Mutation(
        "haze taken for an offset",
        "archive/judgement.py",
        "> HAZE_SLOPE:",
        "> 10 * HAZE_SLOPE:",
        (f"{JUDGEMENT}::test_haze_is_doubted_and_not_corrected",),
    ),
    Mutation(
        "flag of the offset read by its truth value",
        "archive/harmonise.py",
        "said[name] = _truth(value, f\"{item['id']}: {name}\")",
        "said[name] = bool(value)",
        (f"{HARMONISE}::test_flag_is_false_in_every_spelling",),
    ),
    Mutation(
        "declared scale left aside",
        "archive/harmonise.py",
        "* (scaling.scale / STEP)",
        "* 1",
        (f"{HARMONISE}::test_declared_scale_is_used_wherever_it_is_written",),
    ),
    Mutation(
        "doubted pixels masked",
        "archive/masks.py",
        "valid = (quality & EXCLUDING) == 0\n    quality |= np.where(missing, 0, informing)",
        "quality |= np.where(missing, 0, informing)\n    valid = quality == 0",
        (EVIDENCE, "tests/unit/archive/test_masks.py"),
    ),
    Mutation(
        "doubts of the masks lost in the map",
        "inference/maps.py",
        "summary.flags | doubts[place]",
        "summary.flags",
        (f"{MAPS}::test_doubts_of_the_masks_become_flags_and_drop_no_pixel",),
    ),
    Mutation(
        "a strip of the map takes the seeds of the first",
        "inference/maps.py",
        "(first_row + start) // _ROWS",
        "start // _ROWS",
        (f"{MAPS}::test_a_map_is_the_summaries_of_its_pixels",),
    ),
    Mutation(
        "split of a strip told without its lower neighbour",
        "cubes/blocks.py",
        "strip = slice(first, first + height + 2)",
        "strip = slice(first, first + height + 1)",
        ("tests/unit/cubes/test_blocks.py::test_strips_do_not_change_what_is_allowed",),
    ),
    Mutation(
        "the index of the last shard read is that of all",
        "cubes/shards.py",
        "self._indices[shard] = _index(file.read(size), path)",
        "self._indices = dict.fromkeys(range(99), _index(file.read(size), path))",
        (f"{BATCHES}::test_values_are_those_of_the_store",),
    ),
    Mutation(
        "an epoch in the order of the one before",
        "cubes/batches.py",
        "np.random.default_rng([seed, epoch])",
        "np.random.default_rng([seed])",
        (f"{BATCHES}::test_an_epoch_is_a_permutation_of_the_patches",),
    ),
    Mutation(
        "the checksum of a shard's index ignored",
        "cubes/shards.py",
        "if google_crc32c.value(content) != checksum:",
        "if False:",
        (f"{BATCHES}::test_a_broken_shard_is_an_error_and_never_data",),
    ),
    Mutation(
        "item left out of its blocks' seed",
        "inference/maps.py",
        "seed_of(options.seed, item, block)",
        "seed_of(options.seed, block)",
        (f"{MAPS}::test_every_acquisition_and_block_has_draws_of_its_own",),
    ),
    Mutation(
        "block left out of its seed",
        "inference/maps.py",
        "seed_of(options.seed, item, block)",
        "seed_of(options.seed, item)",
        (f"{MAPS}::test_every_acquisition_and_block_has_draws_of_its_own",),
    ),
    Mutation(
        "campaign's seed left out of a map",
        "inference/maps.py",
        "seed_of(options.seed, item, block)",
        "seed_of(item, block)",
        (f"{MAPS}::test_every_acquisition_and_block_has_draws_of_its_own",),
    ),
    Mutation(
        "bands of a map in the store's order",
        "inference/maps.py",
        ".isel(time=time).sel(band=list(bands))",
        ".isel(time=time, band=slice(len(bands)))",
        (f"{MAPS}::test_bands_are_taken_by_name",),
    ),
    Mutation(
        "platform of a map dropped",
        "inference/maps.py",
        'platform = str(scene["platform"].values[time])',
        'platform = str(scene["platform"].values[0])',
        (f"{MAPS}::test_a_map_is_the_summaries_of_its_pixels",),
    ),
    Mutation(
        "bands of a table in the table's order",
        "inference/tables.py",
        "[values.get(band, nowhere) for band in model.generative.bands]",
        "[values.get(band, nowhere) for band in sorted(model.generative.bands, reverse=True)]",
        (f"{TABLES}::test_a_table_says_what_its_model_says",),
    ),
    Mutation(
        "platform of a table dropped",
        "inference/tables.py",
        "observed(x, a, kind, bands)",
        "observed(x, a, kind * 0, bands)",
        (f"{TABLES}::test_every_row_is_read_as_its_platform_saw_it",),
    ),
    Mutation(
        "fit of a summary divided by one band less",
        "models/generative/contract.py",
        "count = len(seen.bands) if seen.complete",
        "count = len(seen.bands) - 1 if seen.complete",
        (f"{SUMMARIES}::test_the_fit_of_the_truth_is_the_distance_in_units_of_the_noise",),
    ),
    Mutation(
        "fit of a summary counts bands that were not seen",
        "models/generative/contract.py",
        "count = len(seen.bands) if seen.complete else seen.valid.sum(-1)",
        "count = len(seen.bands)",
        (f"{SUMMARIES}::test_bands_that_were_not_seen_have_no_part_in_fit_and_flags",),
    ),
    Mutation(
        "flags of bands in another order than the bounds",
        "inference/summaries.py",
        "    seen = seen.in_bands(estimator.generative.bands)\n",
        "",
        (f"{SUMMARIES}::test_bands_in_another_order_and_further_ones_give_the_same",),
    ),
    Mutation(
        "flags from what stands under an invalid entry",
        "inference/summaries.py",
        "(beyond & seen.valid.numpy()).any(-1)",
        "beyond.any(-1)",
        (f"{SUMMARIES}::test_bands_that_were_not_seen_have_no_part_in_fit_and_flags",),
    ),
    Mutation(
        "the same random numbers in each piece of work",
        "inference/summaries.py",
        "seed_of(seed, block)",
        "seed_of(seed)",
        (f"{SUMMARIES}::test_pieces_of_work_have_random_numbers_of_their_own",),
    ),
    Mutation(
        "resampling by raw weights",
        "samplers/importance.py",
        "index = resample(smoothed, math.prod(shape), generator)",
        "index = resample(torch.log_softmax(target.log_density(x) - log_q, 0), math.prod(shape), generator)",
        (f"{IMPORTANCE}::test_draws_occur_as_often_as_their_smoothed_weight_says",),
    ),
    Mutation(
        "effective size of raw weights",
        "samplers/importance.py",
        "ess = torch.exp(-torch.logsumexp(2.0 * smoothed, dim=0))",
        "ess = effective_size(target.log_density(x) - log_q)",
        (f"{IMPORTANCE}::test_draws_occur_as_often_as_their_smoothed_weight_says",),
    ),
    Mutation(
        "weights without the proposal's density",
        "samplers/importance.py",
        "pareto_smooth(target.log_density(x) - log_q)",
        "pareto_smooth(target.log_density(x))",
        ("tests/laws/test_samplers.py::test_mean_and_covariance_of_linear_gaussian_posteriors_are_exact",),
    ),
    Mutation(
        "every proposal of a chain accepted",
        "samplers/hmc.py",
        "dtype=gain.dtype) < probability",
        "dtype=gain.dtype) < 2.0",
        ("tests/laws/test_samplers.py::test_mean_and_covariance_of_linear_gaussian_posteriors_are_exact",),
    ),
    Mutation(
        "draws of chains in the sampler's coordinates",
        "samplers/hmc.py",
        "z = target.outward(kept)",
        "z = kept",
        ("tests/laws/test_samplers.py::test_mean_and_covariance_of_linear_gaussian_posteriors_are_exact",),
    ),
    Mutation(
        "one step size for all problems",
        "samplers/hmc.py",
        "adaptation.update(acceptance.mean(0))",
        "adaptation.update(acceptance.mean().expand(acceptance.shape[1]))",
        ("tests/laws/test_samplers.py::test_problems_side_by_side_do_not_influence_each_other",),
    ),
    Mutation(
        "noise of a reference left out",
        "evaluation/against/reference_posterior.py",
        'model.observe(sample, generator("reference noise", options.seed))',
        "sample.seen",
        (f"{REFERENCE}::test_a_reference_comes_back_as_it_was_written",),
    ),
    Mutation(
        "STAC item at midnight",
        "products/publish.py",
        'pd.Timestamp(store["time"].values[time])',
        'pd.Timestamp(store["time"].values[time]).normalize()',
        ("tests/unit/products/test_publish.py::test_items_are_dated_to_the_second",),
    ),
    Mutation(
        "direction of the view turned round",
        "products/stac.py",
        "(self.view_azimuth + 180.0) % 360.0",
        "self.view_azimuth",
        (
            "tests/unit/products/test_publish.py"
            "::test_angles_and_clouds_are_told_and_no_angle_that_was_assumed",
        ),
    ),
    Mutation(
        "assumed view angles are published as known ones",
        "products/publish.py",
        'found["kind"] == ANGLES_ASSUMED',
        "not found",
        (
            "tests/unit/products/test_publish.py"
            "::test_angles_and_clouds_are_told_and_no_angle_that_was_assumed",
        ),
    ),
    Mutation(
        "clouds counted in pixels without data too",
        "products/publish.py",
        "seen += int(np.count_nonzero(classes))",
        "seen += classes.size",
        (
            "tests/unit/products/test_publish.py"
            "::test_angles_and_clouds_are_told_and_no_angle_that_was_assumed",
        ),
    ),
    Mutation(
        "a catalogue of whatever lies in the folder",
        "products/catalog.py",
        "for path in sorted(records):",
        'for path in sorted(folder.glob("*/*/provenance.json")):',
        ("tests/unit/products/test_catalog.py::test_what_is_not_listed_is_not_in_the_catalogue",),
    ),
    Mutation(
        "of two equally near acquisitions the later",
        "evaluation/against/plots.py",
        'clear.assign(distance=clear["days"].abs())',
        'clear.assign(distance=clear["days"].abs(), days=-clear["days"])',
        (PLOTS,),
    ),
    Mutation(
        "of two equally near acquisitions that of the first tile",
        "evaluation/against/plots.py",
        '"distance", "days", "tile", "item"]',
        '"distance", "tile", "item"]',
        (PLOTS,),
    ),
    Mutation(
        "of two tiles the first item",
        "evaluation/against/plots.py",
        '"days", "tile", "item"]',
        '"days", "item", "tile"]',
        (PLOTS,),
    ),
    Mutation(
        "of two items of a day the first in the store",
        "evaluation/against/plots.py",
        '"days", "tile", "item"]',
        '"days", "tile"]',
        (PLOTS,),
    ),
    Mutation(
        "content digest without names",
        "atomic.py",
        'f"{name}\\0{path.stat().st_size}\\0"',
        'f"{path.stat().st_size}\\0"',
        (DIGEST,),
    ),
    Mutation(
        "content digest of names without folders",
        "atomic.py",
        "name = path.relative_to(folder).as_posix()",
        "name = path.name",
        (DIGEST,),
    ),
    Mutation(
        "summaries: the network is trusted everywhere",
        "models/summaries.py",
        "return near & ((x >= self.lower) & (x <= self.upper)).all(-1)",
        "return torch.ones_like(near)",
        (SUMMARIES,),
    ),
    Mutation(
        "summaries: a posterior that is no number is a hole",
        "inference/summaries.py",
        "if not finite.all():",
        "if False:",
        (HOLE,),
    ),
    Mutation(
        "maps: summaries are said to be what was wished",
        "inference/maps.py",
        "return LEARNED if learns and options.summaries == LEARNED else DRAWN",
        "return options.summaries",
        (SAYS,),
    ),
    Mutation(
        "maps: a part that was cut short is appended",
        "inference/maps.py",
        "if len(data) != chunk.length:",
        "if False:",
        (CUT,),
    ),
    Mutation(
        "maps: doubts of the masks are dropped",
        "inference/blocks.py",
        "summary.flags | piece.doubts.ravel()[piece.clear]",
        "summary.flags",
        (DOUBTS,),
    ),
    Mutation(
        "encoding: the fill value is a value",
        "inference/encoding.py",
        "_MOST = _LEAST + float(FILL) - 1",
        "_MOST = _LEAST + float(FILL)",
        (ENCODING,),
    ),
    Mutation(
        "shards: chunks lie a byte further on",
        "cubes/shards.py",
        "self._file.tell(), len(data)",
        "self._file.tell() + 1, len(data)",
        (LAYOUT,),
    ),
    Mutation(
        "maps ask for the time of learned pixels alone",
        "campaigns/work.py",
        "draws * max(least, share)",
        "draws * least",
        (ESTIMATES,),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table of mutations and whether each was noticed; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="NAME", help="mutations whose name holds this text")
    only = parser.parse_args(arguments).only or ""
    chosen = [mutation for mutation in MUTATIONS if only in mutation.name]
    if not chosen:
        parser.error(f"no mutation is called {only!r}")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        _copy_tracked(copy)
        whole = _pytest(copy, sorted({test for mutation in chosen for test in mutation.tests}))
        if whole.returncode != 0:
            print(whole.stdout, whole.stderr, "the tests fail without any mutation", sep="\n")
            return 1
        outcomes = [_outcome(copy, mutation) for mutation in chosen]
    survivors = sum(outcome != "noticed" for outcome in outcomes)
    print(f"{len(chosen) - survivors} of {len(chosen)} noticed")
    return int(survivors > 0)


def _copy_tracked(copy: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True, check=True)
    for name in listed.stdout.rstrip("\0").split("\0"):
        if (TOP / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / name, copy / name, follow_symlinks=False)


def _outcome(copy: Path, mutation: Mutation) -> str:
    """Apply, test, undo; prints its line of the table."""
    file = copy / "src/canopyflow" / mutation.file
    text = file.read_text()
    if text.count(mutation.old) != 1:
        outcome = f"NOT APPLIED: its text is {text.count(mutation.old)} times in {mutation.file}"
    else:
        file.write_text(text.replace(mutation.old, mutation.new))
        status = _pytest(copy, mutation.tests).returncode
        file.write_text(text)
        outcome = {0: "SURVIVED", FAILED: "noticed"}.get(status, f"NOT JUDGED: pytest ended with {status}")
    print(f"{mutation.name:55} {outcome}", flush=True)
    return outcome


def _pytest(copy: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run ``tests`` against the copy's source, whatever version is installed."""
    # Without bytecode: a file mutated twice within a second has the same time and may have the same size.
    own = {"PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=copy, env=os.environ | own, capture_output=True, text=True)


if __name__ == "__main__":
    sys.exit(main())
