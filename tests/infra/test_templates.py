"""The templates, judged by Microsoft's compiler: nothing to say at the strictest setting, the canonical layout, snapshots that
are those of today's templates, and an order in which a deployment can work.
"""

import json
import re
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.infra.compiled import Json, expressions, main, resources, templates
from tests.infra.compiler import MISSING, VERSION, bicep, compiler
from tests.infra.snapshots import FOLDER, NAMES, evaluate, snapshot, snapshots
from tests.regenerate import ROOT

INFRA = ROOT / "infra"
FILES = sorted(INFRA.glob("*.bicep"))
CONFIGURATION = INFRA / "bicepconfig.json"
OFF = {
    # Reads today's date, so a tree that passed would fail by waiting: make lint-api-versions, on a schedule.
    "use-recent-api-versions",
    # A good name needs no description; the parameters of main.bicep are held to theirs below.
    "use-description-outputs",
    "use-description-params",
    "use-description-type-properties",
    "use-description-types",
    "use-description-vars",
}


def module_resources(symbol: str) -> dict[str, Json]:
    """The resources of a module, by their symbols."""
    return resources(templates()[symbol])


def lint(path: Path) -> list[str]:
    """What the compiler says of a file and its modules, a warning as much as an error."""
    completed = bicep("lint", path)
    return (completed.stdout + completed.stderr).splitlines()


# ---------------------------------------------------------------------------------------------------- the compiler


@pytest.mark.infra
def test_compiler_is_the_pinned_version() -> None:
    assert f"version {VERSION} " in bicep("--version").stdout


@pytest.mark.infra
def test_compiler_has_nothing_to_say() -> None:
    assert lint(INFRA / "main.bicep") == []


@pytest.mark.infra
def test_layout_is_canonical(tmp_path: Path) -> None:
    copies = [Path(shutil.copy(path, tmp_path)) for path in FILES]
    assert bicep("format", "--pattern", tmp_path / "*.bicep").returncode == 0
    assert [copy.name for copy in copies if copy.read_bytes() != (INFRA / copy.name).read_bytes()] == []


def test_every_template_is_a_part_of_the_whole() -> None:
    modules = re.findall(r"^module \w+ '(.+)'", (INFRA / "main.bicep").read_text("utf-8"), flags=re.MULTILINE)
    imports = re.findall(
        r"^import .+ from '(.+)'", (INFRA / "main.bicepparam").read_text("utf-8"), re.MULTILINE
    )
    assert {*modules, *imports, "main.bicep"} == {path.name for path in FILES}


@pytest.mark.infra
def test_snapshots_are_of_these_templates() -> None:
    """What `bicep snapshot --mode validate` compares, all in one process."""
    evaluated = evaluate(NAMES)
    committed = {name: json.loads((FOLDER / f"{name}.snapshot.json").read_text("utf-8")) for name in NAMES}
    assert [name for name in NAMES if evaluated[name] != committed[name]] == [], (
        "make snapshots writes them again"
    )


def test_every_snapshot_has_its_parameters() -> None:
    assert [path.name.removesuffix(".snapshot.json") for path in sorted(FOLDER.glob("*.json"))] == NAMES


# ------------------------------------------------------------------------------------------------------ the linter


def rules() -> dict[str, str]:
    """The level of each of the linter's rules."""
    text = re.sub(r"^\s*//.*$", "", CONFIGURATION.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {
        rule: options["level"] for rule, options in json.loads(text)["analyzers"]["core"]["rules"].items()
    }


def test_linter_is_at_its_strictest() -> None:
    assert {rule for rule, level in rules().items() if level != "error"} == OFF


def library(name: str) -> bytes:
    """One of the .NET libraries that the compiler's executable is a bundle of.

    The layout is that of .NET's single-file bundles (dotnet/runtime, Bundle/Manifest.cs): a signature, in front of it the
    offset of the manifest, and in that each file's offset, size, compressed size, type and path.
    """
    command = compiler()
    if command is None:
        pytest.skip(MISSING)
    bundle = Path(command).resolve().read_bytes()
    signature = bytes.fromhex("8b1202b96a612038727b930214d7a03213f5b9e6efae3318ee3b2dce24b36aae")
    assert signature in bundle, (
        f"{command} is not the compiler itself: name the executable, not a script around it"
    )
    position = struct.unpack_from("<q", bundle, bundle.index(signature) - 8)[0]
    count = struct.unpack_from("<i", bundle, position + 8)[0]
    position += 13 + bundle[position + 12] + 40  # the bundle's own id, and where two of its files lie
    for _ in range(count):
        offset, size, compressed, length = struct.unpack_from("<qqqxB", bundle, position)
        position += 26 + length
        if bundle[position - length : position].decode() == name:
            content = bundle[offset : offset + (compressed or size)]
            return zlib.decompress(content, -zlib.MAX_WBITS) if compressed else content
    raise LookupError(name)


@pytest.mark.infra
def test_every_rule_of_the_compiler_is_named() -> None:
    core = library("Azure.Bicep.Core.dll")
    classes = set(re.findall(rb"\0([A-Z]\w+Rule)(?=\0)", core)) - {b"IBicepAnalyzerRule"}
    unknown = [rule for rule in rules() if rule.encode("utf-16-le") not in core]
    # One of the classes has no "Rule" at the end of its name: nested-deployment-template-scoping.
    assert (unknown, len(rules())) == ([], len(classes) + 1)


@pytest.mark.api_versions
def test_no_api_version_is_older_than_two_years(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(INFRA, tmp_path / "infra"))
    text = CONFIGURATION.read_text(encoding="utf-8")
    rule = '"use-recent-api-versions": { "level": "%s" }'
    assert rule % "off" in text
    (copy / CONFIGURATION.name).write_text(text.replace(rule % "off", rule % "error"), encoding="utf-8")
    assert lint(copy / "main.bicep") == []


# ----------------------------------------------------------------------------------------------------------- loops


@pytest.mark.infra
def test_every_loop_knows_its_index() -> None:
    """A resource that asks for the index of a loop without its name, and is no loop, is evaluated by no engine.

    The compiler writes such a template for a module collection that is indexed in a property's loop (Azure/bicep 4453).
    """
    unnamed = [
        f"{name}: {'.'.join(path)}"
        for name, template in templates().items()
        for path, text in expressions(template)
        if "copyIndex()" in text and "copy" not in resources(template)[path[1]]
    ]
    assert unnamed == []


def test_no_condition_is_overruled() -> None:
    """`module!.outputs` of a module that is not deployed is evaluated by nobody but Azure; `.?` says what then."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in FILES)
    assert re.findall(r"\w+!\.\w+|\w+\]!\.\w+", text) == []


# ----------------------------------------------------------------------------------------------------------- order


def predecessors(parts: dict[str, Json], symbol: str) -> set[str]:
    """What is deployed before a resource, by itself or because something else waits for it."""
    direct = {name for name in parts[symbol].get("dependsOn", []) if name in parts}
    return direct.union(*(predecessors(parts, name) for name in direct))


@pytest.mark.infra
def test_app_comes_after_all_that_it_needs() -> None:
    needed = {"group", "identity", "telemetry", "storage", "vault", "network", "readers"}
    assert predecessors(resources(main()), "app") == needed


@pytest.mark.infra
def test_roles_and_alarms_come_after_what_they_are_about() -> None:
    parts = resources(main())
    assert [
        predecessors(parts, name) >= {"identity"} for name in ("telemetry", "storage", "vault", "readers")
    ] == [True] * 4
    assert predecessors(parts, "alerts") >= {"telemetry"}
    assert predecessors(parts, "network") >= {"storage", "vault"}


@pytest.mark.infra
def test_site_is_changed_by_nothing_else_at_the_same_time() -> None:
    site = module_resources("app")
    order = ["app", "app::ftp", "app::scm", "app::settings", "app::auth"]
    assert [predecessors(site, symbol) & set(order) for symbol in order] == [
        set(order[:n]) for n in range(len(order))
    ]


# ---------------------------------------------------------------------------------------------------------- values

# Where the service takes only some values and the compiler takes any text or number.
SPANS = {"PT1M", "PT5M", "PT10M", "PT15M", "PT30M", "PT45M", *(f"PT{hours}H" for hours in range(1, 7)), "P1D"}
VALUES: dict[tuple[str, str], set[Any]] = {
    ("Microsoft.Insights/components", "properties.Application_Type"): {"web", "other"},
    # The Terraform provider lists the spans (monitor_scheduled_query_rules_alert_v2).
    ("Microsoft.Insights/scheduledQueryRules", "properties.windowSize"): SPANS | {"P2D"},
    ("Microsoft.Insights/scheduledQueryRules", "properties.evaluationFrequency"): SPANS,
    ("Microsoft.Insights/scheduledQueryRules", "properties.severity"): {0, 1, 2, 3, 4},
    # Azure Monitor validates a query by running it, and the component of a first deployment has no table yet.
    ("Microsoft.Insights/scheduledQueryRules", "properties.skipQueryValidation"): {True},
    ("Microsoft.Insights/scheduledQueryRules", "properties.criteria.allOf.timeAggregation"): {"Count"},
    ("Microsoft.Insights/scheduledQueryRules", "properties.criteria.allOf.operator"): {"GreaterThan"},
    ("Microsoft.Insights/actionGroups", "location"): {"Global"},
    ("Microsoft.Insights/activityLogAlerts", "location"): {"Global"},
    # https://learn.microsoft.com/azure/templates/microsoft.insights/metricalerts; the Terraform provider lists the spans
    ("Microsoft.Insights/metricAlerts", "location"): {"global"},
    ("Microsoft.Insights/metricAlerts", "properties.severity"): {0, 1, 2, 3, 4},
    ("Microsoft.Insights/metricAlerts", "properties.windowSize"): {
        "PT1M",
        "PT5M",
        "PT15M",
        "PT30M",
        "PT1H",
        "PT6H",
        "PT12H",
        "P1D",
    },
    ("Microsoft.Insights/metricAlerts", "properties.evaluationFrequency"): {
        "PT1M",
        "PT5M",
        "PT15M",
        "PT30M",
        "PT1H",
    },
    # Of Flex Consumption: https://learn.microsoft.com/azure/azure-functions/monitor-functions#analyze-metrics-for-azure-functions
    ("Microsoft.Insights/metricAlerts", "properties.criteria.allOf.metricName"): {
        "OnDemandFunctionExecutionCount"
    },
    # Azure Monitor validates the metric, and the app of a first deployment has none yet.
    ("Microsoft.Insights/metricAlerts", "properties.criteria.allOf.skipMetricValidation"): {True},
    # https://learn.microsoft.com/azure/key-vault/general/soft-delete-overview
    ("Microsoft.KeyVault/vaults", "properties.softDeleteRetentionInDays"): set(range(7, 91)),
    ("Microsoft.KeyVault/vaults", "properties.sku.name"): {"standard", "premium"},
    ("Microsoft.KeyVault/vaults", "properties.publicNetworkAccess"): {"Enabled", "Disabled"},
    ("Microsoft.KeyVault/vaults", "properties.networkAcls.defaultAction"): {"Allow", "Deny"},
    ("Microsoft.KeyVault/vaults", "properties.networkAcls.bypass"): {"None", "AzureServices"},
    ("Microsoft.OperationalInsights/workspaces", "properties.sku.name"): {"PerGB2018"},
    ("Microsoft.OperationalInsights/workspaces", "properties.retentionInDays"): set(range(30, 731)),
    ("Microsoft.Storage/storageAccounts", "kind"): {"StorageV2"},
    ("Microsoft.Storage/storageAccounts", "sku.name"): {"Standard_LRS", "Standard_ZRS", "Standard_GRS"},
    ("Microsoft.Storage/storageAccounts", "properties.accessTier"): {"Hot", "Cool"},
    ("Microsoft.Storage/storageAccounts", "properties.minimumTlsVersion"): {"TLS1_2", "TLS1_3"},
    ("Microsoft.Storage/storageAccounts", "properties.publicNetworkAccess"): {"Enabled", "Disabled"},
    ("Microsoft.Storage/storageAccounts", "properties.networkAcls.defaultAction"): {"Allow", "Deny"},
    ("Microsoft.Storage/storageAccounts", "properties.networkAcls.bypass"): {"None", "AzureServices"},
    ("Microsoft.Web/serverfarms", "sku.name"): {"FC1"},
    ("Microsoft.Web/serverfarms", "sku.tier"): {"FlexConsumption"},
    # https://learn.microsoft.com/azure/azure-functions/functions-reference-python#python-version
    ("Microsoft.Web/sites", "properties.functionAppConfig.runtime.name"): {"python"},
    ("Microsoft.Web/sites", "properties.functionAppConfig.runtime.version"): {"3.11", "3.12", "3.13"},
    ("Microsoft.Web/sites", "properties.functionAppConfig.scaleAndConcurrency.instanceMemoryMB"): {
        512,
        2048,
        4096,
    },
    ("Microsoft.Web/sites", "properties.functionAppConfig.scaleAndConcurrency.maximumInstanceCount"): set(
        range(1, 1001)
    ),
    ("Microsoft.Web/sites", "properties.functionAppConfig.deployment.storage.type"): {"blobContainer"},
    ("Microsoft.Web/sites", "properties.functionAppConfig.siteUpdateStrategy.type"): {"Recreate"},
    ("Microsoft.Web/sites", "properties.siteConfig.minTlsVersion"): {"1.2", "1.3"},
}
# What Flex Consumption refuses of a site's configuration, in some regions with an error and in others without:
# https://learn.microsoft.com/azure/azure-functions/functions-app-settings#flex-consumption-plan-deprecations
REFUSED = {
    "alwaysOn",
    "ftpsState",
    "functionAppScaleLimit",
    "linuxFxVersion",
    "preWarmedInstanceCount",
    "use32BitWorkerProcess",
    "vnetContentShareEnabled",
    "vnetRouteAllEnabled",
}


def values(resource: Any, path: list[str]) -> Iterator[Any]:  # noqa: ANN401  # JSON
    if not path:
        yield resource
    elif isinstance(resource, list):
        for part in resource:
            yield from values(part, path)
    else:
        yield from values(resource[path[0]], path[1:])


@pytest.mark.parametrize("kind, path", VALUES)
def test_value_is_one_that_the_service_takes(kind: str, path: str) -> None:
    used = {
        value
        for evaluated in snapshots()
        for resource in evaluated.of_type(kind)
        for value in values(resource, path.split("."))
    }
    assert used
    assert used <= VALUES[kind, path]


@pytest.mark.parametrize("name", NAMES)
def test_site_has_nothing_that_its_plan_refuses(name: str) -> None:
    assert set(snapshot(name).single("Microsoft.Web/sites")["properties"]["siteConfig"]) & REFUSED == set()


def test_a_type_has_a_single_version_and_no_preview() -> None:
    versions: dict[str, set[str]] = {}
    for resource in (resource for evaluated in snapshots() for resource in evaluated.resources):
        versions.setdefault("/".join(resource["type"].split("/")[:2]), set()).add(resource["apiVersion"])
    # Microsoft documents no other version of these later than 2016.
    assert versions.pop("Microsoft.Insights/diagnosticSettings") == {"2021-05-01-preview"}
    assert {
        kind: api_versions
        for kind, api_versions in versions.items()
        if len(api_versions) > 1 or "preview" in str(api_versions)
    } == {}


# ------------------------------------------------------------------------------------------------------ parameters


@pytest.mark.infra
def test_every_parameter_is_described_in_a_sentence() -> None:
    parameters = main()["parameters"]
    described = {
        name
        for name, parameter in parameters.items()
        if parameter.get("metadata", {}).get("description", "").endswith(".")
    }
    assert set(parameters) - described == set()


@pytest.mark.infra
def test_every_number_has_bounds() -> None:
    numbers = {
        name: set(parameter) for name, parameter in main()["parameters"].items() if parameter["type"] == "int"
    }
    bounds = ("allowedValues",), ("minValue", "maxValue")
    assert [name for name, keys in numbers.items() if not any(keys.issuperset(pair) for pair in bounds)] == []


@pytest.mark.infra
def test_required_text_cannot_be_empty() -> None:
    required = [parameter for parameter in main()["parameters"].values() if "defaultValue" not in parameter]
    assert [parameter for parameter in required if parameter.get("minLength", 0) < 1] == []
