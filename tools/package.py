"""What would be deployed: Chalice's package of app.py, merged with infra/resources.yaml.

The same template serves twice: written beside its bundle for AWS, and without one, in a second, for the sandbox.
"""

import argparse
import importlib
import json
import shutil
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chalice.config import Config
from chalice.deploy.appgraph import ApplicationGraphBuilder, DependencyBuilder
from chalice.deploy.deployer import BuildStage, DeploymentPackager, InjectDefaults, PolicyGenerator, create_build_stage
from chalice.deploy.swagger import CFNSwaggerGenerator
from chalice.package import ResourceBuilder, SAMTemplateGenerator, TemplateDeepMerger, YAMLTemplateSerializer
from chalice.policy import AppPolicyGenerator
from chalice.utils import UI, OSUtils

from tools import build_agent

ROOT = Path(__file__).parents[1]
STAGE = "dev"
MERGED = ROOT / "infra" / "resources.yaml"
BUNDLE = "deployment.zip"
AGENT = "ebbtide-agent.pyz"

Template = dict[str, Any]


class NoBundle:
    """Stands where Chalice's packager would download the requirements and zip them up."""

    def create_deployment_package(self, project: str, python_version: str) -> str:
        return BUNDLE


class Principals:
    """The name a service goes by in a trust policy; Chalice's own wants an AWS region to say the same."""

    def service_principal(self, service: str) -> str:
        return f"{service}.amazonaws.com"


def build_template() -> Template:
    """The template that would be deployed, without making the bundle that it points at."""
    osutils = OSUtils()
    steps = [InjectDefaults(), DeploymentPackager(NoBundle()), PolicyGenerator(AppPolicyGenerator(osutils), osutils)]
    template, _ = _generate(_config(), BuildStage(steps))
    return template


def package(out: Path) -> None:
    """Write the template (sam.json), the bundle it points at and the agent into `out`. Downloads the requirements."""
    config = _config()
    template, bundle = _generate(config, create_build_stage(OSUtils(), UI(), CFNSwaggerGenerator(), config))
    refuse_compiled(bundle)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(bundle, out / BUNDLE)
    build_agent.build(out / AGENT)
    write(template, out)


def write(template: Template, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "sam.json").write_text(json.dumps(template, indent=2) + "\n")


def _config() -> Config:
    """As Chalice's own command line makes it, which is not imported: that writes questions to the terminal."""
    return Config(
        STAGE,
        user_provided_params={"chalice_app": lambda: importlib.import_module("app").app},
        config_from_disk=json.loads((ROOT / ".chalice" / "config.json").read_text()),
        default_params={"project_dir": str(ROOT)},
    )


def _generate(config: Config, stage: BuildStage) -> tuple[Template, Path]:
    """The merged template, and where the build stage left the bundle of all the functions."""
    builder = ResourceBuilder(ApplicationGraphBuilder(), DependencyBuilder(), stage)
    generated = SAMTemplateGenerator(config, Principals()).generate(builder.construct_resources(config, STAGE))
    functions = [r["Properties"] for r in generated["Resources"].values() if r["Type"] == "AWS::Serverless::Function"]
    bundle = Path(functions[0]["CodeUri"])
    for function in functions:
        function["CodeUri"] = f"./{BUNDLE}"
    ours = YAMLTemplateSerializer().load_template(MERGED.read_text(), str(MERGED))
    merged: Template = TemplateDeepMerger().merge(ours, generated)
    return merged, bundle


def refuse_compiled(bundle: Path) -> None:
    """A compiled wheel is for the Python that packages, which is not the one the template names."""
    with zipfile.ZipFile(bundle) as archive:
        compiled = [name for name in archive.namelist() if name.endswith(".so")]
    if compiled:
        raise SystemExit(f"the bundle must be pure Python, and holds {', '.join(compiled)}: mend requirements.txt")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.package", description=__doc__)
    parser.add_argument("out", type=Path, help=f"where sam.json, {BUNDLE} and {AGENT} go")
    parser.add_argument("--template-only", action="store_true", help="sam.json alone: downloads nothing")
    options = parser.parse_args(arguments)
    if options.template_only:
        write(build_template(), options.out)
    else:
        package(options.out)
    print(f"packaged into {options.out}")


if __name__ == "__main__":
    main(sys.argv[1:])
