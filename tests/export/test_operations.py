"""Operations that a graph from elsewhere may run, held against TensorFlow's registry of operations."""

from __future__ import annotations

import re
from typing import Any

import pytest

from expkit import tf1 as tf
from expkit.export.operations import PURE, VARIABLES, operations_of
from expkit.export.subgraph import subgraph
from expkit.training.inference import infer_graph
from support.networks import OF_ALL_KINDS, spec_of

RANDOM = {
    *("Multinomial", "ParameterizedTruncatedNormal", "RandomGamma", "RandomPoisson", "RandomPoissonV2"),
    *("RandomShuffle", "RandomStandardNormal", "RandomUniform", "RandomUniformInt", "SampleDistortedBoundingBox"),
    *("SampleDistortedBoundingBoxV2", "StatelessRandomGetAlg", "TruncatedNormal"),
    *("LogUniformCandidateSampler", "UniformCandidateSampler"),
}
"""They keep the state of a generator, which ends with the session."""
CALLS = {"Case", "If", "StatefulPartitionedCall", "While"}
"""They are declared to have effects because their functions might; these are checked."""
CHECKS = {"Assert", "CheckNumerics", "CheckNumericsV2", "GuaranteeConst"}
"""They are declared to have effects so that they are not removed or folded."""
_STRINGS = """
bad_indices_policy compression_type config config_proto context_dense_keys context_sparse_keys dct_method
dense_keys dimension_numbers dst_format encoding equation executor_type feature_list_dense_keys
feature_list_dense_missing_assumed_empty feature_list_sparse_keys field_delim fill fill_mode frame_name
input_encoding input_order interpolation kernel_type left_pad message na_value noise padding pattern placeholder
rewrite right_pad row_partition_types separator set_operation sparse_keys src_format template tensor_array_name
xmp_metadata
"""
STRINGS = frozenset(_STRINGS.split())
"""Attributes of text that only choose how to compute, or name what is in a message of an error or in a tensor."""


@pytest.fixture(scope="module")
def registry() -> dict[str, Any]:
    """TensorFlow's operations by name."""
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session as session

    operations = op_def_pb2.OpList.FromString(session.TF_GetBuffer(session.TF_GetAllOpList()))
    return {operation.name: operation for operation in operations.op}


def test_no_operation_on_the_list_has_effects_beyond_its_session(registry: dict[str, Any]) -> None:
    stateful = {name for name in PURE if name in registry and registry[name].is_stateful}
    arrays = {name for name in stateful if name.startswith("TensorArray")}
    assert stateful - arrays == RANDOM | CALLS | CHECKS


def test_no_operation_on_the_list_has_an_attribute_or_an_input_that_may_name_a_file(registry: dict[str, Any]) -> None:
    reaching = re.compile(r"file|path|url|address|prefix|host|port|directory|folder|source|token|script|library")
    texts: dict[str, str] = {}
    for name in PURE & set(registry):
        operation = registry[name]
        for attribute in operation.attr:
            if attribute.type in ("string", "list(string)"):
                assert not reaching.search(attribute.name), f"{name}.{attribute.name}"
                if attribute.name not in STRINGS and not attribute.HasField("allowed_values"):
                    texts[f"{name}.{attribute.name}"] = attribute.description
        for argument in operation.input_arg:
            if argument.type == tf.string.as_datatype_enum:
                assert not reaching.search(argument.name), f"{name}.{argument.name}"
    assert texts == {}


def test_only_reads_of_variables_and_control_flow_take_references(registry: dict[str, Any]) -> None:
    taking = {name for name in PURE & set(registry) if any(item.is_ref for item in registry[name].input_arg)}
    assert taking == {name for name in taking if name.startswith(("Ref", "TensorArray"))}
    resources = {
        name
        for name in PURE & set(registry)
        for item in (*registry[name].input_arg, *registry[name].output_arg)
        if item.type == tf.resource.as_datatype_enum
    }
    assert resources == {name for name in resources if name.startswith("TensorArray")}
    assert not PURE & VARIABLES
    assert not {name for name in VARIABLES if re.search("Assign|Scatter|Apply|Destroy", name)}


def test_most_of_the_list_exists_in_this_version(registry: dict[str, Any]) -> None:
    assert len(PURE & set(registry)) > 0.95 * len(PURE)


@pytest.mark.parametrize("name", OF_ALL_KINDS)
def test_a_network_of_all_kinds_runs_with_operations_on_the_list(name: str) -> None:
    built = infer_graph(spec_of(OF_ALL_KINDS[name]), {})
    part = subgraph(built.graph.as_graph_def(), [tensor.op.name for tensor in built.outputs.values()])
    assert operations_of(part) - {function.signature.name for function in part.library.function} <= PURE | VARIABLES
