"""Packaging. The trees `kernels/` and `weights_tools/` at the root are installed as `epcore.kernels` and
`epcore.weights_tools`; the relative links epcore/kernels and epcore/weights_tools make a checkout look the same."""

from setuptools import find_packages, setup

TREES = {"epcore.kernels": "kernels", "epcore.weights_tools": "weights_tools"}


def packages() -> list[str]:
    found = find_packages(include=["epcore", "epcore.*"], exclude=[f"{name}*" for name in TREES])
    for name, folder in TREES.items():
        found += [name, *(f"{name}.{child}" for child in find_packages(folder))]
    return found


setup(packages=packages(), package_dir={"epcore": "epcore", **TREES})
