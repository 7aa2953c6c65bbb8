"""All settings, read from the environment; without one, what a demo on this machine needs.

Embedded default: SQLite and a private Redis. `DATABASE_URL` and `CELERY_BROKER_URL` put the same code on
PostgreSQL and any Redis.
"""

import re
from pathlib import Path
from typing import Any

import environ
from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.urls import reverse_lazy

BASE_DIR = Path(__file__).resolve().parents[2]
env = environ.Env()


def _bounded(name: str, default: int, low: int, high: int) -> int:
    """Read a whole number that is safe only within bounds."""
    number = env.int(name, default)
    if not low <= number <= high:
        raise ImproperlyConfigured(f"{name} is {number}: it may be {low} to {high}.")
    return int(number)


#: Where the embedded default keeps its database and sockets.
STATE_DIR = Path(env.str("SLUICEGATE_STATE_DIR", str(BASE_DIR / ".state")))
#: A running demo writes its settings there; what the environment says comes first.
if (STATE_DIR / "env").is_file():
    env.read_env(str(STATE_DIR / "env"))

DEBUG = env.bool("DEBUG", False)
#: No default: gateways' enrolment secrets and sessions hang on it. Django refuses to use an empty one; web servers and
#: workers refuse to start. Commands that need none, such as demo and makemigrations, run without.
SECRET_KEY = env.str("SECRET_KEY", "")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]", "198.51.100.80"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    # Without its search for admin modules, which the URLs make: workers and schedulers need none of them.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "csp",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "portal.accounts",
    "egress.control",
    "billing",
    "portal.web",
    "portal.api",
    "portal.demo",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "portal.web.csp.PolicyMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "portal.config.urls"
ASGI_APPLICATION = "portal.config.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.web.simulated.simulated",
                "portal.web.held.held",
            ]
        },
    }
]


def _database() -> dict[str, Any]:
    config: dict[str, Any] = env.db_url("DATABASE_URL", f"sqlite:///{STATE_DIR / 'sluicegate.sqlite3'}")
    if config["ENGINE"] == "django.db.backends.sqlite3":
        # WAL with IMMEDIATE transactions: six processes that read, then write, meet no "database is locked".
        config["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
        config["TEST"] = {"NAME": env.str("TEST_DATABASE", str(STATE_DIR / "test.sqlite3"))}
    else:
        # Under ASGI every request has a thread of its own, which a kept connection would outlive.
        config["CONN_MAX_AGE"] = 0
    return config


DATABASES = {"default": _database()}


def _cache() -> dict[str, Any]:
    """Count in the broker's Redis, where all processes see it; without a Redis, in each process."""
    broker = env.str("CELERY_BROKER_URL", f"redis+socket://{STATE_DIR / 'redis.sock'}")
    url = env.str("CACHE_URL", broker.replace("redis+socket://", "unix://", 1))
    if not url.startswith(("redis://", "rediss://", "unix://")):
        return {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "OPTIONS": {"MAX_ENTRIES": 100_000},
        }
    return {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": url,
        "KEY_PREFIX": "sluicegate",
        # Nobody waits long for a count.
        "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 1},
    }


CACHES = {"default": _cache()}

AUTHENTICATION_BACKENDS = ["portal.accounts.backends.PatienceBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = reverse_lazy("web:login")
LOGIN_REDIRECT_URL = reverse_lazy("web:apps")
LOGOUT_REDIRECT_URL = reverse_lazy("web:login")

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
FORMAT_MODULE_PATH = "portal.config.formats"

STATIC_URL = "/static/"
STATIC_ROOT = STATE_DIR / "static"
STATICFILES_DIRS: list[Path] = []
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_AUTOREFRESH = DEBUG

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.bool("SECURE_COOKIES", False)
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    },
}
#: django-unfold needs inline styles and evaluated expressions: the admin has a policy of its own.
ADMIN_CONTENT_SECURITY_POLICY = {
    "default-src": [SELF],
    "script-src": [SELF, UNSAFE_EVAL, UNSAFE_INLINE],
    "style-src": [SELF, UNSAFE_INLINE],
    "img-src": [SELF, "data:"],
    "frame-ancestors": [NONE],
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["portal.api.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_THROTTLE_CLASSES": ["portal.api.throttling.TokenThrottle"],
    "DEFAULT_THROTTLE_RATES": {"token": "600/min"},
    "EXCEPTION_HANDLER": "portal.api.errors.handle",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Sluicegate API",
    "DESCRIPTION": "Dedicated egress addresses for a team's apps.",
    "VERSION": "1",
    # 3.0 has no way to say "this object or null".
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "PREPROCESSING_HOOKS": ["portal.api.schema.plain_paths"],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "EgressType": "egress.control.models.EgressType",
        "EgressState": "portal.api.serializers.STATES",
        "DedicatedIpStatus": "portal.api.serializers.IP_STATUSES",
        "GatewayStatus": "egress.control.models.GatewayStatus",
        "GatewayHealth": "egress.control.models.Health",
        "Maintenance": "egress.control.models_rollouts.Maintenance",
        "RolloutKind": "egress.control.models_rollouts.RolloutKind",
        "RolloutStatus": "egress.control.models_rollouts.RolloutStatus",
        "RolloutTurn": "egress.control.models_rollouts.ItemState",
        "OnOutage": "egress.control.models_told.OnOutage",
        "InvoiceStatus": "billing.models.InvoiceStatus",
        "StatementLineKind": "billing.models.StatementLine.Kind",
        "ConditionType": "portal.api.serializers.CONDITION_TYPES",
        "ConditionStatus": "portal.api.serializers.CONDITION_STATUSES",
    },
}

CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", f"redis+socket://{STATE_DIR / 'redis.sock'}")
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_SOFT_TIME_LIMIT = 40
CELERY_TASK_TIME_LIMIT = 45
CELERY_TASK_DEFAULT_QUEUE = "reconcile"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
if CELERY_BROKER_URL.startswith("redis"):
    # A message of a killed worker is delivered again once it is older than the hard time limit.
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "visibility_timeout": 60,
        "unacked_restore_interval": 3,
        "unacked_restore_throttle": 1,
        "socket_timeout": 10,
    }
#: Messages are hints; this sweep is what makes sure. Two schedulers do no harm.
CELERY_BEAT_SCHEDULE = {
    "sweep": {"task": "egress.control.tasks.sweep", "schedule": 1.0, "options": {"expires": 5}},
    "watch": {"task": "egress.control.tasks.watch", "schedule": 5.0, "options": {"expires": 10}},
    "roll": {"task": "egress.control.tasks.roll", "schedule": 2.0, "options": {"expires": 10}},
    "tell": {"task": "egress.control.tasks.tell", "schedule": 5.0, "options": {"expires": 10}},
    "mail": {"task": "egress.control.tasks.mail", "schedule": 5.0, "options": {"expires": 10}},
    "forget": {"task": "egress.control.tasks.forget", "schedule": 3600.0, "options": {"expires": 600}},
    "tidy": {"task": "egress.control.tasks.tidy", "schedule": 30.0, "options": {"expires": 60}},
    "close-hours": {"task": "billing.tasks.close_hours", "schedule": 60.0, "options": {"expires": 50}},
    "close-months": {"task": "billing.tasks.close_months", "schedule": 60.0, "options": {"expires": 60}},
    "collect": {"task": "billing.tasks.collect", "schedule": 60.0, "options": {"expires": 55}},
    "handle-events": {"task": "billing.tasks.handle_events", "schedule": 60.0, "options": {"expires": 55}},
    "remind": {"task": "billing.tasks.remind", "schedule": 60.0, "options": {"expires": 55}},
    "look-at-budgets": {"task": "billing.tasks.look_at_budgets", "schedule": 300.0, "options": {"expires": 240}},
    "look-for-disputes": {"task": "billing.tasks.look_for_disputes", "schedule": 3600.0, "options": {"expires": 600}},
    "forget-events": {"task": "billing.tasks.forget_events", "schedule": 3600.0, "options": {"expires": 600}},
    "export-months": {"task": "billing.tasks.export_months", "schedule": 3600.0, "options": {"expires": 600}},
}

#: Names this installation at the provider: tags of everything that it creates begin with it.
INSTALLATION_ID = env.str("SLUICEGATE_INSTALLATION_ID", "dev")
# Part of tags, in which the provider ignores case, and of host names, which have 63 characters.
if not re.fullmatch("[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?", INSTALLATION_ID):
    raise ImproperlyConfigured(
        f"SLUICEGATE_INSTALLATION_ID is {INSTALLATION_ID!r}: it may have 20 lower-case letters, digits and dashes."
    )
DIGITALOCEAN_TOKEN = env.str("DIGITALOCEAN_TOKEN", "")
DIGITALOCEAN_API_URL = env.str("DIGITALOCEAN_API_URL", "https://api.digitalocean.com")
#: A CA bundle to trust instead of the system's, for the lab.
DIGITALOCEAN_CA_FILE = env.str("DIGITALOCEAN_CA_FILE", "")
#: Where agents reach this control plane, and the CA bundle (PEM) that they trust; "" is the system's.
AGENT_API_URL = env.str("SLUICEGATE_AGENT_API_URL", "https://localhost:8443")
AGENT_API_CA_FILE = env.str("SLUICEGATE_AGENT_API_CA_FILE", "")
#: The provider: a dotted path of a callable without arguments that returns an `egress.provider.base.Provider`.
EGRESS_PROVIDER = env.str("EGRESS_PROVIDER", "egress.control.provider_access.digitalocean")
#: A worker that holds a row loses it after this long: longer than the hard time limit of a task, so none outlives it.
EGRESS_LEASE_SECONDS = 50
#: How long a request's head may take, from a connection's first moment or the request's first byte; and its body.
REQUEST_HEAD_SECONDS = env.float("REQUEST_HEAD_SECONDS", 10.0)
REQUEST_BODY_SECONDS = env.float("REQUEST_BODY_SECONDS", 20.0)
#: How often a call that failed for a passing reason is made again, and the longest pause between two.
EGRESS_PROVIDER_ATTEMPTS = 12
EGRESS_BACKOFF_MAX_SECONDS = 120
#: A gateway that doesn't forward this long after its creation has failed.
EGRESS_BOOT_LIMIT_SECONDS = env.int("EGRESS_BOOT_LIMIT_SECONDS", 600)
#: A server that the provider hasn't deleted after this long is shown to operators and holds its customer up no more.
EGRESS_DELETION_STUCK_SECONDS = env.int("EGRESS_DELETION_STUCK_SECONDS", 1800)
#: A server that no row knows is kept at least this long, also when an operator orders its deletion.
EGRESS_QUARANTINE_HOURS = env.int("EGRESS_QUARANTINE_HOURS", 24)
#: If tidying up deletes more servers than this within so many seconds, it stops until an operator resets the breaker.
EGRESS_DELETION_LIMIT = env.int("EGRESS_DELETION_LIMIT", 20)
EGRESS_DELETION_WINDOW_SECONDS = 3600
#: An agent whose credential is this old is offered another, which its first use puts in the old one's place.
AGENT_TOKEN_RENEW_SECONDS = env.int("AGENT_TOKEN_RENEW_SECONDS", 86_400)
#: One that is this old is refused: a node joins again, a gateway needs a rebuild. Longer than the control plane may be
#: away.
AGENT_TOKEN_LIFETIME_SECONDS = env.int("AGENT_TOKEN_LIFETIME_SECONDS", 30 * 86_400)
#: Who shows it as bearer token reads /metrics, and gateways' metrics; without one there are none.
METRICS_TOKEN = env.str("METRICS_TOKEN", "")
if METRICS_TOKEN and not re.fullmatch("[!-~]{16,200}", METRICS_TOKEN):
    raise ImproperlyConfigured("METRICS_TOKEN must have 16 to 200 visible ASCII characters and no blanks.")
#: What higher rooms add to /metrics: dotted paths of callables that return an `egress.wire.exposition.Page`.
METRICS_PAGES: list[str] = ["billing.metrics.page"]
#: What higher rooms add to the operators' start page: dotted paths of callables that return
#: `{model: egress.control.admin.start.Kind}`.
START_SECTIONS: list[str] = ["billing.admin.start.kinds"]
#: A node or gateway without a report for this long is unhealthy.
EGRESS_SILENCE_SECONDS = 30
#: Against a gateway that says it is well it takes more than so many percent of the nodes that say anything of it.
EGRESS_NODES_AGAINST_PERCENT = _bounded("EGRESS_NODES_AGAINST_PERCENT", 50, 50, 90)
#: After the control plane itself was away, nobody is judged for so long: agents report every 10 s.
EGRESS_REPAIR_GRACE_SECONDS = _bounded("EGRESS_REPAIR_GRACE_SECONDS", 60, 30, 3_600)
#: Repair gateways without being asked.
EGRESS_REPAIR = env.bool("EGRESS_REPAIR", True)
#: How long a gateway must be dead, and how long sick, before it is repaired.
EGRESS_REPAIR_DEAD_SECONDS = _bounded("EGRESS_REPAIR_DEAD_SECONDS", 30, 10, 3_600)
EGRESS_REPAIR_SICK_SECONDS = _bounded("EGRESS_REPAIR_SICK_SECONDS", 300, 60, 86_400)
#: The pause after a step that didn't help; it doubles with each, up to an hour.
EGRESS_REPAIR_PAUSE_SECONDS = _bounded("EGRESS_REPAIR_PAUSE_SECONDS", 60, 10, 3_600)
#: How often each step is taken within so many hours. A replacement costs the customer an address.
EGRESS_REPAIR_POWER_CYCLES = _bounded("EGRESS_REPAIR_POWER_CYCLES", 1, 0, 5)
EGRESS_REPAIR_REBUILDS = _bounded("EGRESS_REPAIR_REBUILDS", 2, 0, 5)
EGRESS_REPAIR_REPLACEMENTS = _bounded("EGRESS_REPAIR_REPLACEMENTS", 2, 0, 5)
EGRESS_REPAIR_WINDOW_HOURS = _bounded("EGRESS_REPAIR_WINDOW_HOURS", 24, 1, 168)
#: If more gateways of a cluster are bad than this share and than this number, repair stops there.
EGRESS_REPAIR_BAD_PERCENT = _bounded("EGRESS_REPAIR_BAD_PERCENT", 20, 5, 50)
EGRESS_REPAIR_BAD_MINIMUM = _bounded("EGRESS_REPAIR_BAD_MINIMUM", 2, 1, 20)
#: A pair that has been without its second gateway for this long is told to its team by mail.
EGRESS_TELL_DEGRADED_SECONDS = env.int("EGRESS_TELL_DEGRADED_SECONDS", 600)
#: So long nodes' pivots (billing's evidence of outages) and notifications are kept.
EGRESS_TOLD_KEPT_DAYS = env.int("EGRESS_TOLD_KEPT_DAYS", 400)
#: Where mails go, such as smtp+tls://user:password@mail.example:587; without one, into files that nobody is sent.
vars().update(env.email_url("EMAIL_URL", f"filemail:///{STATE_DIR / 'mails'}"))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.str("MAIL_FROM", "Sluicegate <sluicegate@localhost>")
#: Where people reach the pages: links in mails begin with it.
PORTAL_URL = env.str("SLUICEGATE_PORTAL_URL", "http://localhost:8000").rstrip("/")
#: Moves the control plane's clock; only a lab sets it.
CLOCK_OFFSET_SECONDS = env.int("CLOCK_OFFSET_SECONDS", 0)
#: A file with so many seconds more, which moves the clocks of all processes of a lab at once (`manage.py lab pass-…`).
CLOCK_OFFSET_FILE = env.str("CLOCK_OFFSET_FILE", "")
#: The price where no row of prices holds: of a gateway slot's hour, in this currency, for so many hours a month at
#: most. The first price that is set, and the first month that is closed, keep it as a row. An app has two slots.
BILLING_CURRENCY = env.str("BILLING_CURRENCY", "USD")
BILLING_PRICE_PER_SLOT_HOUR = env.str("BILLING_PRICE_PER_SLOT_HOUR", "0.01860119")
BILLING_CAP_HOURS = _bounded("BILLING_CAP_HOURS", 672, 1, 744)
if not re.fullmatch(r"\d{1,6}(\.\d{1,8})?", BILLING_PRICE_PER_SLOT_HOUR):
    raise ImproperlyConfigured(
        f"BILLING_PRICE_PER_SLOT_HOUR is {BILLING_PRICE_PER_SLOT_HOUR!r}: it may be 0 to 999999.99999999."
    )
#: What the provider takes for a server a month, in `BILLING_COST_CURRENCY`, by size: for the operators' page of margins
#: only. DigitalOcean counts by the second, up to the price of 672 hours.
BILLING_DROPLET_PRICES: dict[str, str] = env.dict(
    "BILLING_DROPLET_PRICES",
    default={
        "s-1vcpu-512mb-10gb": "4",
        "s-1vcpu-1gb": "6",
        "s-1vcpu-2gb": "12",
        "s-2vcpu-2gb": "18",
        "s-2vcpu-4gb": "24",
        "s-4vcpu-8gb": "48",
    },
)
for _size, _amount in BILLING_DROPLET_PRICES.items():
    if not re.fullmatch(r"\d{1,6}(\.\d{1,2})?", _amount):
        raise ImproperlyConfigured(f"BILLING_DROPLET_PRICES has {_amount!r} for {_size}: it may be 0 to 999999.99.")
BILLING_COST_CURRENCY = env.str("BILLING_COST_CURRENCY", "USD")
#: Statements are made so long after the month's end, for events that come late.
BILLING_HOLD_HOURS = _bounded("BILLING_HOLD_HOURS", 24, 24, 240)
#: Policies that are asked before egress is enabled: dotted paths of callables(app=, actor=) that may raise
#: AdmissionRefused. They are asked inside the transaction that enables, so they lock what they count and call nobody.
EGRESS_ADMISSION: list[str] = [
    "billing.guards.policies.payment_method",
    "billing.guards.policies.debt",
    "billing.guards.policies.quota",
    "billing.guards.policies.spend_limit",
]
#: Refuse to enable until the team's payment method is known; never without Stripe.
BILLING_PAYMENT_METHOD_NEEDED = env.bool("BILLING_PAYMENT_METHOD_NEEDED", True)
#: So many apps of a team may have dedicated egress at once; 0 is no limit. The lower one holds, where Stripe collects,
#: until a team's first payment: with stolen cards somebody would make servers. An account's own quota comes first.
BILLING_QUOTA = _bounded("BILLING_QUOTA", 100, 0, 1_000_000)
BILLING_QUOTA_BEFORE_PAYMENT = _bounded("BILLING_QUOTA_BEFORE_PAYMENT", 3, 1, 1_000_000)
#: Stripe's secret key, and the secret of its webhook endpoint, /stripe/webhook/; without a key nothing is collected.
STRIPE_SECRET_KEY = env.str("STRIPE_SECRET_KEY", "")
STRIPE_WEBHOOK_SECRET = env.str("STRIPE_WEBHOOK_SECRET", "")
#: Where Stripe's API is; "" is Stripe's own. A stand-in is on this machine.
STRIPE_API_URL = env.str("STRIPE_API_URL", "")
#: Let Stripe compute taxes. They come on top of what statements say.
STRIPE_TAX = env.bool("STRIPE_TAX", False)
#: So many invoices a worker brings to Stripe at once: each asks some five times a second. Stripe takes 100 requests a
#: second, 25 in test mode.
STRIPE_AT_ONCE = _bounded("STRIPE_AT_ONCE", 8, 1, 16)
#: So long what webhooks brought is kept once it is dealt with.
STRIPE_EVENTS_KEPT_DAYS = _bounded("STRIPE_EVENTS_KEPT_DAYS", 90, 7, 3_650)
#: On which days after a payment failed the team is reminded.
BILLING_REMINDER_DAYS = env.list("BILLING_REMINDER_DAYS", cast=int, default=[0, 3, 7, 14])
#: Disable egress of a team that doesn't pay: so many days after the payment failed at the earliest, never before it was
#: warned by mail for so many days; its addresses are then held so long, in case that it pays.
BILLING_DISABLE_UNPAID = env.bool("BILLING_DISABLE_UNPAID", False)
BILLING_GRACE_DAYS = _bounded("BILLING_GRACE_DAYS", 21, 1, 365)
BILLING_WARNING_DAYS = _bounded("BILLING_WARNING_DAYS", 7, 1, 90)
BILLING_HOLD_DAYS = _bounded("BILLING_HOLD_DAYS", 7, 0, 90)
#: Who provides and bills, as FOCUS exports name it.
BILLING_ISSUER = env.str("BILLING_ISSUER", "Sluicegate")
#: Where finished months are written to as files; "" writes none. And as which files: format:grain.
BILLING_EXPORT_DIR = env.str("BILLING_EXPORT_DIR", "")
BILLING_EXPORT_FILES = env.list("BILLING_EXPORT_FILES", default=["csv:day", "jsonl:day", "focus:day"])
#: Why no packets are steered in this installation, a demo on a machine that lacks something; "" where they are.
SIMULATED = env.str("SLUICEGATE_SIMULATED", "")
#: A running lab's control socket; "" where there is none.
LAB_SOCKET = env.str("SLUICEGATE_LAB_SOCKET", str(STATE_DIR / "lab.sock"))

UNFOLD = {
    "SITE_TITLE": "Sluicegate",
    "SITE_HEADER": "Sluicegate",
    "SITE_SUBHEADER": "Fleet operations",
    "SITE_ICON": lambda _request: static("web/favicon.svg"),
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda _request: static("web/favicon.svg")}],
    # The customers' pages' accent, in Unfold's eleven shades.
    "COLORS": {
        "primary": {
            "50": "#f0f9f8",
            "100": "#d8f0ee",
            "200": "#b3e2de",
            "300": "#83cdc7",
            "400": "#4fc4bb",
            "500": "#23908a",
            "600": "#0a6965",
            "700": "#085a57",
            "800": "#074947",
            "900": "#063c3a",
            "950": "#032423",
        }
    },
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "ENVIRONMENT": "portal.web.simulated.admin_label",
    "ENVIRONMENT_TITLE_PREFIX": "portal.web.simulated.admin_title_prefix",
    "DASHBOARD_CALLBACK": "egress.control.admin.start.dashboard",
    "SIDEBAR": {"show_search": True, "navigation": "portal.config.navigation.groups"},
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", "INFO")},
    # Else two lines for each request.
    "loggers": {"stripe": {"level": "WARNING"}},
}
