"""Other registration tools as functions (fixed, moving, model) -> transform of points, fixed to moving pixels (x, y).

Each with the settings that its documentation gives for images of different modality, on 8-bit gray planes, spacing 1,
and told which model to take. A tool that is not installed is left out of `installed()`.
"""

import importlib
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np

THREADS = 2
MIRROR = np.diag([-1.0, -1, 1])  # x and y of NIfTI's world against those of ITK's


def linear(matrix):
    """The transform of points by a 3x3 matrix."""
    matrix = np.asarray(matrix, float)
    return lambda points: points @ matrix[:2, :2].T + matrix[:2, 2]


def simpleitk(fixed, moving, model):
    """Mattes mutual information, every pixel, gradient descent with a line search on three levels."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(THREADS)
    images = [SimpleITK.GetImageFromArray(image.astype(np.float32)) for image in (fixed, moving)]
    start = {
        "translation": SimpleITK.TranslationTransform(2),
        "rigid": SimpleITK.Euler2DTransform(),
        "similarity": SimpleITK.Similarity2DTransform(),
        "affine": SimpleITK.AffineTransform(2),
    }[model]
    if model != "translation":
        start = SimpleITK.CenteredTransformInitializer(
            *images, start, SimpleITK.CenteredTransformInitializerFilter.GEOMETRY
        )
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsGradientDescentLineSearch(1.0, 200, convergenceMinimumValue=1e-6, convergenceWindowSize=10)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SetInitialTransform(start, inPlace=False)
    found = method.Execute(*images)
    return lambda points: np.array([found.TransformPoint(point) for point in points.tolist()])


def elastix(fixed, moving, model):
    """The default parameter maps of elastix, from image centre to image centre."""
    import itk

    parameters = itk.ParameterObject.New()
    chosen = parameters.GetDefaultParameterMap("affine" if model == "similarity" else model, 4)
    if model == "similarity":
        chosen["Transform"] = ("SimilarityTransform",)
    chosen["AutomaticTransformInitialization"] = ("true",)
    chosen["WriteResultImage"] = ("false",)
    parameters.AddParameterMap(chosen)
    images = [itk.image_from_array(image.astype(np.float32)) for image in (fixed, moving)]
    _, found = itk.elastix_registration_method(*images, parameters, number_of_threads=THREADS, log_to_console=False)
    found = found.GetParameterMap(0)
    values = [float(value) for value in found["TransformParameters"]]
    if model == "translation":
        return lambda points: points + values
    centre = np.array([float(value) for value in found["CenterOfRotationPoint"]])
    scale = values[0] if model == "similarity" else 1.0
    if model == "affine":
        shape = np.reshape(values[:4], (2, 2))
    else:
        angle = values[-3]
        shape = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return lambda points: (points - centre) @ shape.T + centre + values[-2:]


def greedy(fixed, moving, model):
    """NMI on three levels from the images' centres."""
    import SimpleITK
    from picsl_greedy import Greedy2D

    images = {
        name: SimpleITK.GetImageFromArray(image.astype(np.float32))
        for name, image in (("fixed", fixed), ("moving", moving))
    }
    dof = {"translation": 6, "rigid": 6, "similarity": 7, "affine": 12}[model]
    engine = Greedy2D()
    engine.execute(
        f"-threads {THREADS} -i fixed moving -a -dof {dof} -n 100x100x60 -m NMI -ia-image-centers -o found -V 0",
        **images,
        found=None,
    )
    return linear(MIRROR @ engine["found"] @ MIRROR)


def niftyreg(fixed, moving, model):
    """Block matching: reg_aladin with its defaults, from image centre to image centre."""
    rigid = ["-rigOnly"] if model in ("translation", "rigid") else []
    with tempfile.TemporaryDirectory() as folder:
        names = _as_nifti(folder, fixed, moving)
        words = ["reg_aladin", "-ref", names[0], "-flo", names[1], "-aff", "found.txt", "-res", "out.nii", "-voff"]
        subprocess.run([*words, *rigid], check=True, cwd=folder, capture_output=True)
        found = np.loadtxt(Path(folder) / "found.txt")
    return linear(MIRROR @ found[np.ix_([0, 1, 3], [0, 1, 3])] @ MIRROR)


def dipy(fixed, moving, model):
    """Mutual information, translation before rigid before affine, as in its tutorial."""
    from dipy.align import imaffine, transforms

    method = imaffine.AffineRegistration(
        metric=imaffine.MutualInformationMetric(nbins=32),
        level_iters=[1000, 100, 50],
        sigmas=[3.0, 1.0, 0.0],
        factors=[4, 2, 1],
        verbosity=0,
    )
    steps = [transforms.TranslationTransform2D(), transforms.RigidTransform2D(), transforms.AffineTransform2D()]
    found = np.eye(3)
    for step in steps[: {"translation": 1, "rigid": 2}.get(model, 3)]:
        found = method.optimize(fixed.astype(float), moving.astype(float), step, None, starting_affine=found).affine
    order = [1, 0, 2]  # its axes are rows, columns
    return linear(found[np.ix_(order, order)])


def opencv(fixed, moving, model):
    """The enhanced correlation coefficient, which is for images of one modality."""
    import cv2

    cv2.setNumThreads(THREADS)
    motion = {"translation": cv2.MOTION_TRANSLATION, "rigid": cv2.MOTION_EUCLIDEAN}.get(model, cv2.MOTION_AFFINE)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-6)
    images = fixed.astype(np.float32), moving.astype(np.float32)
    _, found = cv2.findTransformECC(*images, np.eye(2, 3, dtype=np.float32), motion, criteria, None, 5)
    return linear(found)


def _as_nifti(folder, *images):
    import SimpleITK

    names = [f"{folder}/{i}.nii" for i in range(len(images))]
    for image, name in zip(images, names, strict=True):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(image.astype(np.float32)), name)
    return names


_NEEDS = {
    simpleitk: ("SimpleITK",),
    elastix: ("itk.elxParameterObjectPython",),
    greedy: ("picsl_greedy", "SimpleITK"),
    niftyreg: ("SimpleITK",),
    dipy: ("dipy",),
    opencv: ("cv2",),
}


def installed():
    """The peers that can run here, by name."""
    out = {}
    for peer, modules in _NEEDS.items():
        if peer is niftyreg and shutil.which("reg_aladin") is None:
            continue
        try:
            for module in modules:
                importlib.import_module(module)
        except ImportError:
            continue
        out[peer.__name__] = peer
    return out


@contextmanager
def quiet():
    """Without what libraries in C++ print on standard output."""
    kept = os.dup(1)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
