"""Write one file as an OCI image layout that skopeo can copy to a registry, as cosign stores signatures and SBOMs."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

CONFIG_MEDIA_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"


def write_blob(layout: Path, media_type: str, content: bytes) -> dict[str, Any]:
    """Write a blob of a layout and return its descriptor."""
    name = hashlib.sha256(content).hexdigest()
    (layout / "blobs" / "sha256" / name).write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(content)}


def encode_json(document: Any) -> bytes:
    """Encode a document in one form only, so that equal documents have equal digests."""
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def write_layout(layout: Path, media_type: str, content: bytes, annotations: dict[str, str]) -> None:
    """Write a layout whose only image is named `artifact` and has the content as its only layer.

    Args:
        layout: folder that does not exist yet.
        media_type: media type of the layer.
        content: the layer's bytes.
        annotations: annotations of the layer.
    """
    (layout / "blobs" / "sha256").mkdir(parents=True)
    layer = write_blob(layout, media_type, content)
    if annotations:
        layer["annotations"] = annotations
    empty = {"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
    config = write_blob(layout, CONFIG_MEDIA_TYPE, encode_json(empty))
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST_MEDIA_TYPE, "config": config, "layers": [layer]}
    entry = write_blob(layout, MANIFEST_MEDIA_TYPE, encode_json(manifest))
    entry["annotations"] = {"org.opencontainers.image.ref.name": "artifact"}
    (layout / "oci-layout").write_bytes(encode_json({"imageLayoutVersion": "1.0.0"}))
    (layout / "index.json").write_bytes(encode_json({"schemaVersion": 2, "manifests": [entry]}))


def main() -> int:
    """Write the layout that the command line describes: LAYOUT MEDIA-TYPE FILE [NAME=VALUE...]."""
    layout, media_type, file, *pairs = sys.argv[1:]
    annotations = dict(pair.split("=", 1) for pair in pairs)
    write_layout(Path(layout), media_type, Path(file).read_bytes(), annotations)
    return 0


if __name__ == "__main__":
    sys.exit(main())
