"""Operations that a graph from elsewhere may run: pure functions of their inputs.

The list is of what is allowed, so that an operation that nobody has looked at is refused: many that reach files,
network or Python have names that do not say so (``ImmutableConst`` maps a file, ``DecodeProtoV2`` opens one,
``CopyHost`` sends tensors to an address). None of those listed has an attribute that names a file or an address, and
none changes anything outside its own session.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from expkit.errors import ExportError, Problem, comma_list

__all__ = ["PURE", "RANDOM", "VARIABLES", "check_operations", "nodes_of", "operations_of"]

_PURE = """
LogUniformCandidateSampler Multinomial ParameterizedTruncatedNormal RandomGamma RandomGammaGrad RandomIndexShuffle
RandomPoisson RandomPoissonV2 RandomShuffle RandomStandardNormal RandomUniform RandomUniformInt
SampleDistortedBoundingBox SampleDistortedBoundingBoxV2 StatelessMultinomial StatelessParameterizedTruncatedNormal
StatelessRandomBinomial StatelessRandomGammaV2 StatelessRandomGammaV3 StatelessRandomGetAlg
StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomNormal StatelessRandomNormalV2
StatelessRandomPoisson StatelessRandomUniform StatelessRandomUniformFullInt StatelessRandomUniformFullIntV2
StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformV2 StatelessSampleDistortedBoundingBox
StatelessShuffle StatelessTruncatedNormal StatelessTruncatedNormalV2 TruncatedNormal UniformCandidateSampler

Assert Case CheckNumerics CheckNumericsV2 Const ControlTrigger EmptyTensorList EmptyTensorMap EnsureShape Enter Exit
FakeParam GuaranteeConst Identity IdentityN If LoopCond Merge NextIteration NoOp PartitionedCall Placeholder
PlaceholderV2 PlaceholderWithDefault PreventGradient RefEnter RefExit RefIdentity RefMerge RefNextIteration RefSelect
RefSwitch Snapshot StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile StopGradient Switch
TensorArrayCloseV2 TensorArrayCloseV3 TensorArrayConcatV2 TensorArrayConcatV3 TensorArrayGatherV2 TensorArrayGatherV3
TensorArrayReadV2 TensorArrayReadV3 TensorArrayScatterV2 TensorArrayScatterV3 TensorArraySizeV2 TensorArraySizeV3
TensorArraySplitV2 TensorArraySplitV3 TensorArrayV2 TensorArrayV3 TensorArrayWriteV2 TensorArrayWriteV3
TensorListConcat TensorListConcatLists TensorListConcatV2 TensorListElementShape TensorListFromTensor TensorListGather
TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack TensorListPushBackBatch TensorListReserve
TensorListResize TensorListScatter TensorListScatterIntoExistingList TensorListScatterV2 TensorListSetItem
TensorListSplit TensorListStack TensorMapErase TensorMapHasKey TensorMapInsert TensorMapLookup TensorMapSize
TensorMapStackKeys ToBool While

Dequantize QuantizeAndDequantize QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4
QuantizeAndDequantizeV4Grad QuantizeDownAndShrinkRange QuantizeV2 QuantizedAdd QuantizedAvgPool
QuantizedBatchNormWithGlobalNormalization QuantizedBiasAdd QuantizedConcat QuantizedConcatV2 QuantizedConv2D
QuantizedConv2DAndRelu QuantizedConv2DAndReluAndRequantize QuantizedConv2DAndRequantize QuantizedConv2DPerChannel
QuantizedConv2DWithBias QuantizedConv2DWithBiasAndRelu QuantizedConv2DWithBiasAndReluAndRequantize
QuantizedConv2DWithBiasAndRequantize QuantizedConv2DWithBiasSignedSumAndReluAndRequantize
QuantizedConv2DWithBiasSumAndRelu QuantizedConv2DWithBiasSumAndReluAndRequantize QuantizedDepthwiseConv2D
QuantizedDepthwiseConv2DWithBias QuantizedDepthwiseConv2DWithBiasAndRelu
QuantizedDepthwiseConv2DWithBiasAndReluAndRequantize QuantizedInstanceNorm QuantizedMatMul QuantizedMatMulWithBias
QuantizedMatMulWithBiasAndDequantize QuantizedMatMulWithBiasAndRelu QuantizedMatMulWithBiasAndReluAndRequantize
QuantizedMatMulWithBiasAndRequantize QuantizedMaxPool QuantizedMul QuantizedRelu QuantizedRelu6 QuantizedReluX
QuantizedReshape QuantizedResizeBilinear RequantizationRange RequantizationRangePerChannel Requantize
RequantizePerChannel UniformDequantize UniformQuantize UniformQuantizedAdd UniformQuantizedClipByValue
UniformQuantizedConvolution UniformQuantizedConvolutionHybrid UniformQuantizedDot UniformQuantizedDotHybrid
UniformRequantize

CSRSparseMatrixComponents CSRSparseMatrixToDense CSRSparseMatrixToSparseTensor DenseCountSparseOutput
DenseToCSRSparseMatrix DenseToDenseSetOperation DenseToSparseSetOperation DeserializeManySparse DeserializeSparse
RaggedBincount RaggedCountSparseOutput RaggedCross RaggedFillEmptyRows RaggedFillEmptyRowsGrad RaggedGather RaggedRange
RaggedTensorFromVariant RaggedTensorToSparse RaggedTensorToTensor RaggedTensorToVariant RaggedTensorToVariantGradient
SerializeManySparse SerializeSparse SetSize SparseAdd SparseAddGrad SparseBincount SparseConcat SparseCountSparseOutput
SparseCross SparseCrossHashed SparseCrossV2 SparseDenseCwiseAdd SparseDenseCwiseDiv SparseDenseCwiseMul
SparseFillEmptyRows SparseFillEmptyRowsGrad SparseMatMul SparseMatrixAdd SparseMatrixMatMul SparseMatrixMul
SparseMatrixNNZ SparseMatrixOrderingAMD SparseMatrixSoftmax SparseMatrixSoftmaxGrad SparseMatrixSparseCholesky
SparseMatrixSparseMatMul SparseMatrixTranspose SparseMatrixZeros SparseReduceMax SparseReduceMaxSparse SparseReduceSum
SparseReduceSumSparse SparseReorder SparseReshape SparseSegmentMean SparseSegmentMeanGrad SparseSegmentMeanGradV2
SparseSegmentMeanWithNumSegments SparseSegmentSqrtN SparseSegmentSqrtNGrad SparseSegmentSqrtNGradV2
SparseSegmentSqrtNWithNumSegments SparseSegmentSum SparseSegmentSumGrad SparseSegmentSumGradV2
SparseSegmentSumWithNumSegments SparseSlice SparseSliceGrad SparseSoftmax SparseSoftmaxCrossEntropyWithLogits
SparseSparseMaximum SparseSparseMinimum SparseSplit SparseTensorDenseAdd SparseTensorDenseMatMul
SparseTensorToCSRSparseMatrix SparseToDense SparseToSparseSetOperation

AsString CTCBeamSearchDecoder CTCGreedyDecoder DecodeAndCropJpeg DecodeBase64 DecodeBmp DecodeCSV DecodeCompressed
DecodeGif DecodeImage DecodeJSONExample DecodeJpeg DecodeJxl DecodePaddedRaw DecodePng DecodeRaw DecodeWav DecodeWebP
EditDistance EncodeBase64 EncodeJpeg EncodePng EncodeWav ExtractJpegShape Fingerprint ParseExample ParseExampleV2
ParseSequenceExample ParseSequenceExampleV2 ParseSingleExample ParseSingleSequenceExample ParseTensor ReduceJoin
RegexFullMatch RegexReplace SerializeTensor StaticRegexFullMatch StaticRegexReplace StringFormat StringJoin
StringLength StringLower StringNGrams StringSplit StringSplitV2 StringStrip StringToHashBucket StringToHashBucketFast
StringToHashBucketStrong StringToNumber StringUpper Substr UnicodeDecode UnicodeDecodeWithOffsets UnicodeEncode
UnicodeScript UnicodeTranscode UnsortedSegmentJoin

AdjustContrast AdjustContrastv2 AdjustHue AdjustSaturation AudioSpectrogram AvgPool AvgPool3D AvgPool3DGrad AvgPoolGrad
BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchNormWithGlobalNormalization BatchNormWithGlobalNormalizationGrad
BatchToSpace BatchToSpaceND BiasAdd BiasAddGrad BiasAddV1 BlockLSTM BlockLSTMGrad BlockLSTMGradV2 BlockLSTMV2 CTCLoss
CTCLossV2 CombinedNonMaxSuppression Conv Conv2D Conv2DBackpropFilter Conv2DBackpropFilterV2 Conv2DBackpropInput
Conv2DBackpropInputV2 Conv3D Conv3DBackpropFilter Conv3DBackpropFilterV2 Conv3DBackpropInput Conv3DBackpropInputV2
CropAndResize CropAndResizeGradBoxes CropAndResizeGradImage DataFormatDimMap DataFormatVecPermute DepthToSpace
DepthwiseConv2dNative DepthwiseConv2dNativeBackpropFilter DepthwiseConv2dNativeBackpropInput Dilation2D
Dilation2DBackpropFilter Dilation2DBackpropInput DrawBoundingBoxes DrawBoundingBoxesV2 Elu EluGrad EuclideanNorm
ExtractGlimpse ExtractGlimpseV2 ExtractImagePatches ExtractVolumePatches FractionalAvgPool FractionalAvgPoolGrad
FractionalMaxPool FractionalMaxPoolGrad FusedBatchNorm FusedBatchNormGrad FusedBatchNormGradV2 FusedBatchNormGradV3
FusedBatchNormV2 FusedBatchNormV3 FusedPadConv2D FusedResizeAndPadConv2D GRUBlockCell GRUBlockCellGrad
GenerateBoundingBoxProposals HSVToRGB ImageProjectiveTransformV2 ImageProjectiveTransformV3 InTopK InTopKV2 L2Loss LRN
LRNGrad LSTMBlockCell LSTMBlockCellGrad LeakyRelu LeakyReluGrad LogSoftmax MatMul MaxPool MaxPool3D MaxPool3DGrad
MaxPool3DGradGrad MaxPoolGrad MaxPoolGradGrad MaxPoolGradGradV2 MaxPoolGradGradWithArgmax MaxPoolGradV2
MaxPoolGradWithArgmax MaxPoolV2 MaxPoolWithArgmax Mfcc NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3
NonMaxSuppressionV4 NonMaxSuppressionV5 NonMaxSuppressionWithOverlaps RGBToHSV Relu Relu6 Relu6Grad ReluGrad ResizeArea
ResizeBicubic ResizeBicubicGrad ResizeBilinear ResizeBilinearGrad ResizeNearestNeighbor ResizeNearestNeighborGrad
ScaleAndTranslate ScaleAndTranslateGrad Selu SeluGrad Sigmoid SigmoidGrad Softmax SoftmaxCrossEntropyWithLogits
Softplus SoftplusGrad Softsign SoftsignGrad SpaceToBatch SpaceToBatchND SpaceToDepth TanhGrad TridiagonalMatMul

Abs AccumulateNV2 Acos Acosh Add AddN AddV2 All Angle Any ApproximateEqual Asin Asinh Atan Atan2 Atanh
BandedTriangularSolve BesselI0 BesselI0e BesselI1 BesselI1e BesselJ0 BesselJ1 BesselK0 BesselK0e BesselK1 BesselK1e
BesselY0 BesselY1 Betainc BitwiseAnd BitwiseOr BitwiseXor Ceil Cholesky CholeskyGrad ClipByValue Complex ComplexAbs
Conj Cos Cosh Cross Cumprod Cumsum CumulativeLogsumexp Dawsn Digamma Div DivNoNan Eig Einsum Equal Erf Erfc Erfinv Exp
Expint Expm1 FFT FFT2D FFT3D FFTND Floor FloorDiv FloorMod FresnelCos FresnelSin Greater GreaterEqual IFFT IFFT2D
IFFT3D IFFTND IRFFT IRFFT2D IRFFT3D IRFFTND Igamma IgammaGradA Igammac Imag Inv InvGrad Invert IsFinite IsInf IsNan
IsotonicRegression KthOrderStatistic LeftShift Less LessEqual Lgamma Log Log1p LogMatrixDeterminant LogicalAnd
LogicalNot LogicalOr Lu MatrixBandPart MatrixDeterminant MatrixDiag MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3
MatrixDiagV2 MatrixDiagV3 MatrixExponential MatrixInverse MatrixLogarithm MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3
MatrixSolve MatrixSolveLs MatrixSquareRoot MatrixTriangularSolve Max Maximum Mean Min Minimum Mod Mul MulNoNan Ndtri
Neg NextAfter NotEqual Polygamma PopulationCount Pow Prod Qr RFFT RFFT2D RFFT3D RFFTND Real RealDiv Reciprocal
ReciprocalGrad RightShift Rint Round Rsqrt RsqrtGrad SegmentMax SegmentMaxV2 SegmentMean SegmentMin SegmentMinV2
SegmentProd SegmentProdV2 SegmentSum SegmentSumV2 SelfAdjointEig SelfAdjointEigV2 Sign Sin Sinh SobolSample Spence Sqrt
SqrtGrad Square SquaredDifference Sub Sum Svd Tan Tanh TridiagonalSolve TruncateDiv TruncateMod UnsortedSegmentMax
UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum Xdivy Xlog1py Xlogy Zeta

ArgMax ArgMin Bincount Bitcast BroadcastArgs BroadcastGradientArgs BroadcastTo Bucketize Cast Concat ConcatOffset
ConcatV2 ConjugateTranspose DenseBincount Diag DiagPart DynamicPartition DynamicStitch ExpandDims
FakeQuantWithMinMaxArgs FakeQuantWithMinMaxArgsGradient FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsGradient
FakeQuantWithMinMaxVarsPerChannel FakeQuantWithMinMaxVarsPerChannelGradient Fill Gather GatherNd GatherV2
HistogramFixedWidth InvertPermutation LinSpace ListDiff LowerBound MakeUnique MirrorPad MirrorPadGrad NthElement OneHot
OnesLike Pack Pad PadV2 ParallelConcat ParallelDynamicStitch Range Rank Reshape Reverse ReverseSequence ReverseV2 Roll
ScatterNd ScatterNdNonAliasingAdd Select SelectV2 Shape ShapeN Size Slice Split SplitV Squeeze StridedSlice
StridedSliceGrad TensorScatterAdd TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate
TensorStridedSliceUpdate Tile TopK TopKUnique TopKV2 TopKWithUnique Transpose Unique UniqueV2 UniqueWithCounts
UniqueWithCountsV2 Unpack UnravelIndex UpperBound Where ZerosLike
"""
PURE = frozenset(_PURE.split())
"""Names of operations; calls of functions are among them, because the operations of a function are checked as well."""

_DETERMINED = {"RandomGammaGrad", "RandomIndexShuffle"}
RANDOM = frozenset(
    {name for name in _PURE.split("\n\n")[0].split() if not name.startswith("Stateless")} - _DETERMINED
    | {"FractionalAvgPool", "FractionalMaxPool"}
)
"""Operations that draw other numbers each time; those that are stateless do not."""

VARIABLES = frozenset(
    {
        *("VarHandleOp", "Variable", "VariableV2", "ReadVariableOp", "ResourceGather", "ResourceGatherNd"),
        *("VariableShape", "VarIsInitializedOp", "IsVariableInitialized"),
    }
)
"""Variables and reads of them: allowed where a checkpoint gives the values."""

_TABLES = ("HashTable", "LookupTable", "InitializeTable")


def check_operations(graph_def: Any, at: str, *, allowed: Collection[str] = (), variables: bool = False) -> None:
    """Check that all operations of a graph and of its functions may run.

    To be done before the graph is imported: TensorFlow computes what it can while it works out shapes.

    Args:
        graph_def: the graph, with no more than what is to run.
        at: the file, for problems.
        allowed: further operations, which the user trusts.
        variables: True if a checkpoint gives the values of variables.

    Raises:
        ExportError: with the operations that are refused.
    """
    functions = {function.signature.name for function in graph_def.library.function}
    known = PURE | (VARIABLES if variables else frozenset()) | set(allowed) | functions
    refused = sorted(operations_of(graph_def) - known)
    tables = [name for name in refused if any(word in name for word in _TABLES)]
    others = [name for name in refused if name not in tables]
    problems = []
    if others:
        problems.append(
            f"refused: {comma_list(others)}: not known to be pure functions of their inputs, so they may reach files, "
            f"network or Python; freeze the graph without them, or allow what you trust: --allow-op {others[0]}"
        )
    if tables:
        problems.append(
            f"refused: {comma_list(tables)}: it looks up in tables, whose contents are not in the graph; do that "
            f"before, and freeze the graph without them, or allow it: --allow-op {tables[0]}"
        )
    if problems:
        raise ExportError(*(Problem(at, problem) for problem in problems))


def operations_of(graph_def: Any) -> set[str]:
    """Return the names of the operations of a graph and of its functions."""
    return {node.op for node in nodes_of(graph_def)}


def nodes_of(graph_def: Any) -> list[Any]:
    """Return the operations of a graph and of its functions."""
    return [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]
