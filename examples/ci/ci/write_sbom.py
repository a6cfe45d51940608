"""Print a list of packages as a CycloneDX document. Equal packages give equal documents."""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot5
from packageurl import PackageURL


def build_component(package: dict[str, str]) -> Component:
    """Return a package of ci/list_packages.py as a component."""
    is_debian = package["type"] == "deb"
    url = PackageURL(
        type=package["type"],
        namespace="debian" if is_debian else None,
        name=package["name"],
        version=package["version"],
        qualifiers={"arch": package["architecture"]} if is_debian else None,
    )
    return Component(
        type=ComponentType.LIBRARY, name=package["name"], version=package["version"], purl=url, bom_ref=str(url)
    )


def format_sbom(packages: list[dict[str, str]], version: str) -> str:
    """Return the CycloneDX document of the image with this version."""
    root = Component(type=ComponentType.CONTAINER, name="worker-node", version=version, bom_ref="worker-node")
    bom = Bom(components=[build_component(package) for package in packages])
    bom.metadata.component = root
    bom.register_dependency(root, bom.components)
    document = json.loads(JsonV1Dot5(bom).output_as_string())
    # names of the document itself: derived from its content, and without the time
    del document["metadata"]["timestamp"], document["serialNumber"]
    content = json.dumps(document, sort_keys=True)
    document["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, content).urn
    return json.dumps(document, indent=1, sort_keys=True)


if __name__ == "__main__":
    print(format_sbom(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2]))
