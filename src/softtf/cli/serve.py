"""`softtf serve`: answer HTTP requests with a learner."""

from importlib.util import find_spec
from pathlib import Path

from softtf.classifier import ContinualClassifier
from softtf.cli.options import Serve
from softtf.errors import UserError
from softtf.runs.classifier import open_classifier
from softtf.saying import note, say

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


def run(options: Serve) -> int:
    """Serve until a signal comes."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise UserError(f"softtf serve needs {', '.join(missing)}; install them by pip install 'softtf[serve]'")
    from softtf.serve import server
    from softtf.serve.app import make_app
    from softtf.serve.service import Service
    from softtf.serve.token import VARIABLE, read_token

    token = read_token(options.token_file)

    def open_model(folder: Path) -> ContinualClassifier:
        return open_classifier(
            folder,
            backbone=options.backbone,
            device=options.device,
            inference=options.policy,
            memory_limit=options.memory_limit,
        )

    with server.bound(options.host, options.port) as listener:
        if token is None and not server.is_loopback(options.host):
            note(f"others can reach this service, and it asks for no token; set ${VARIABLE}")
        service = Service(options.folder, open_model, options.limits)
        listener.listen(server.WAITING)
        version, where = service.version, server.address_of(listener)
        say(f"softtf: version {version.name} of {version.model.num_tasks} tasks answers at {where}")
        server.run(make_app(service, token, options.watch), listener, options.limits.timeout)
    say("softtf: all requests are answered; stopped")
    return 0
