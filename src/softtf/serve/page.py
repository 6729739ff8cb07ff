"""A page that describes the service; it needs no script and nothing from a network."""

from importlib.resources import files
from typing import Any

from jinja2 import Environment

from softtf.serve.service import Service

POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


def page_of(schema: dict[str, Any], service: Service) -> str:
    """Return the page, as HTML: each route of an OpenAPI schema with its parameters, bodies and answers."""
    routes = [
        (method.upper(), path, route) for path, methods in schema["paths"].items() for method, route in methods.items()
    ]
    source = (files("softtf.serve") / "page.html.jinja").read_text(encoding="utf-8")
    model = service.version.model
    return (
        Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        .from_string(source)
        .render(
            title=schema["info"]["title"],
            summary=schema["info"]["summary"],
            routes=routes,
            version=service.version.name,
            tasks=[
                (i + 1, name, [str(label) for label in labels])
                for i, (name, labels) in enumerate(zip(model.classes.names, model.classes.tasks, strict=True))
            ],
            reads_text=model.learner.network.backbone.reads_text,
            limits=service.limits,
        )
    )
