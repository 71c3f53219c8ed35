"""The small kustomize: bases, images, labels, and the words of its errors."""

import pytest

from sandbox.stand_ins.argocd_render import KustomizeError, build

DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  progressDeadlineSeconds: 5
  selector: {matchLabels: {app: %s}}
  template:
    metadata: {labels: {app: %s}}
    spec: {containers: [{name: web, image: shop/web}]}
"""
FILES = {
    "a/deployment.yaml": DEPLOYMENT % ("web", "web"),
    "a/kustomization.yaml": "resources: [deployment.yaml]\ncommonLabels: {team: shop}\n",
    "b/kustomization.yaml": "resources: [../a]\nimages: [{name: shop/web, digest: 'sha256:1'}]\n",
    "c/kustomization.yaml": "resources: [../../outside]\n",
    "d/kustomization.yaml": "resource: []\n",
    "e/kustomization.yaml": "a: [b\n",
    "f/kustomization.yaml": "resources: [gone.yaml]\n",
}


def test_rendering_bases_images_and_labels():
    (item,) = build(FILES.get, "b")
    assert item["spec"]["template"]["spec"]["containers"][0]["image"] == "shop/web@sha256:1"
    assert item["spec"]["selector"]["matchLabels"] == {"app": "web", "team": "shop"}
    assert item["metadata"]["labels"] == {"team": "shop"}


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("c", "no such file"),
        ("d", "unknown field"),
        ("e", "error converting YAML"),
        ("f", "gone.yaml"),
        ("z", "unable to find"),
    ],
)
def test_rendering_errors(folder, words):
    with pytest.raises(KustomizeError, match=words):
        build(FILES.get, folder)
