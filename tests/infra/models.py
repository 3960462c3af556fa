"""The body of a resource against the model that Microsoft's own SDK has of it: names, types, allowed values, what has to be
there and what only the service may write.

The models are of the API version that the SDK was made from, not of the one in the template; what the newer has more is
not noticed. What is allowed beyond the models is in LIMITS, each with its source.
"""

import enum
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from importlib import import_module
from typing import Any

from tests.infra.bicep import Either, Resource, Unknown

MODELS = {
    "Microsoft.Authorization/roleAssignments": "authorization.v2022_04_01:RoleAssignmentCreateParameters",
    "Microsoft.Insights/actionGroups": "monitor:ActionGroupResource",
    "Microsoft.Insights/components": "applicationinsights.v2020_02_02:ApplicationInsightsComponent",
    "Microsoft.Insights/scheduledQueryRules": "monitor:ScheduledQueryRuleResource",
    "Microsoft.KeyVault/vaults": "keyvault:VaultCreateOrUpdateParameters",
    "Microsoft.KeyVault/vaults/secrets": "keyvault:SecretCreateOrUpdateParameters",
    "Microsoft.ManagedIdentity/userAssignedIdentities": "msi.v2024_11_30:Identity",
    "Microsoft.Network/networkSecurityGroups": "network:NetworkSecurityGroup",
    "Microsoft.Network/privateDnsZones": "privatedns:PrivateZone",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": "privatedns:VirtualNetworkLink",
    "Microsoft.Network/privateEndpoints": "network:PrivateEndpoint",
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": "network:PrivateDnsZoneGroup",
    "Microsoft.Network/virtualNetworks": "network:VirtualNetwork",
    "Microsoft.OperationalInsights/workspaces": "loganalytics:Workspace",
    "Microsoft.Resources/resourceGroups": "resource.resources:ResourceGroup",
    "Microsoft.Storage/storageAccounts": "storage:StorageAccountCreateParameters",
    "Microsoft.Storage/storageAccounts/blobServices": "storage:BlobServiceProperties",
    "Microsoft.Storage/storageAccounts/blobServices/containers": "storage:BlobContainer",
    "Microsoft.Storage/storageAccounts/tableServices": "storage:TableServiceProperties",
    "Microsoft.Storage/storageAccounts/tableServices/tables": "storage:Table",
    "Microsoft.Web/serverfarms": "web:AppServicePlan",
    "Microsoft.Web/sites": "web:Site",
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": "web:CsmPublishingCredentialsPoliciesEntity",
    "Microsoft.Web/sites/config": "web:StringDictionary",  # of the name appsettings
    "Microsoft.Web/sites/config/authsettingsV2": "web:SiteAuthSettingsV2",  # of that name
}

# What the service answers with, where it takes something else.
ANSWERS = {
    "Microsoft.KeyVault/vaults": "keyvault:Vault",
    "Microsoft.Storage/storageAccounts": "storage:StorageAccount",
}

_SPANS = (
    "PT1M",
    "PT5M",
    "PT10M",
    "PT15M",
    "PT30M",
    "PT45M",
    "PT1H",
    "PT2H",
    "PT3H",
    "PT4H",
    "PT5H",
    "PT6H",
    "P1D",
)
LIMITS: Mapping[tuple[str, str], frozenset[object]] = {
    # The service takes nothing in between; the Terraform provider lists them (monitor_scheduled_query_rules_alert_v2).
    ("Microsoft.Insights/scheduledQueryRules", "properties.windowSize"): frozenset((*_SPANS, "P2D")),
    ("Microsoft.Insights/scheduledQueryRules", "properties.evaluationFrequency"): frozenset(_SPANS),
    # https://learn.microsoft.com/azure/azure-functions/functions-reference-python#python-version
    ("Microsoft.Web/sites", "properties.functionAppConfig.runtime.version"): frozenset(
        ("3.11", "3.12", "3.13")
    ),
    # https://learn.microsoft.com/azure/key-vault/general/soft-delete-overview
    ("Microsoft.KeyVault/vaults", "properties.softDeleteRetentionInDays"): frozenset(range(7, 91)),
}
_OF_BICEP = {"name", "parent", "scope", "dependsOn"}  # of every resource, and of no model
_ISO_SPAN = re.compile(r"P(?!$)(\d+D)?(T(?!$)(\d+H)?(\d+M)?(\d+S)?)?")


@dataclass
class Shape:
    """What an object may hold: a type for each name, or the shape of the object under it."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)
    read_only: dict[str, Any] = field(default_factory=dict)


def problems(resource: Resource) -> list[str]:
    """What the service would not take, or would leave out without a word."""
    if resource.type not in MODELS:
        return [f"{resource.where}: {resource.type}: no model is known"]
    body = {name: value for name, value in resource.body.items() if name not in _OF_BICEP}
    named = f"{resource.type}/{resource.body.get('name')}"  # a few have a model for one name
    shape = shape_of(model(named if named in MODELS else resource.type))
    found = [*_object(body, shape, ""), *_limits(resource.type, body)]
    return [f"{resource.where}: {one}" for one in found]


def answers(kind: str, path: str) -> bool:
    """Whether a resource has a property that can be read, as `properties.vaultUri` of a vault."""
    at: Any = model(kind, ANSWERS)
    for name in path.split("."):
        shapes = [
            one if isinstance(one, Shape) else shape_of(one) for one in _alternatives(at) if _is_object(one)
        ]
        known = [{**shape.fields, **shape.read_only} for shape in shapes]
        found = next((fields[name] for fields in known if name in fields), None)
        if found is None:
            return False
        at = found
    return True


def model(kind: str, instead: Mapping[str, str] = types.MappingProxyType({})) -> type:
    """The SDK's class for a type of resource."""
    module, name = instead.get(kind, MODELS[kind]).split(":")
    found: type = getattr(import_module(f"azure.mgmt.{module}.models"), name)
    return found


def _limits(kind: str, body: dict[str, Any]) -> Iterator[str]:
    for (limited, path), allowed in LIMITS.items():
        value: Any = body
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if limited == kind and not isinstance(value, Unknown | Either | None) and value not in allowed:
            yield f"{path}: {value!r} is not allowed"


# ------------------------------------------------------------------------------------------------------- values


def _object(value: dict[str, Any], shape: Shape, path: str) -> Iterator[str]:
    for name, inner in value.items():
        here = f"{path}.{name}".lstrip(".")
        if name in shape.read_only:
            yield f"{here}: only the service writes it"
        elif name not in shape.fields:
            yield f"{here}: {shape.name} has no such property{_like(name, shape)}"
        else:
            yield from _value(inner, shape.fields[name], here)
    yield from (f"{path}.{name}: is missing".lstrip(".") for name in shape.required - set(value))


def _like(name: str, shape: Shape) -> str:
    return next((f"; there is {one}" for one in shape.fields if one.lower() == name.lower()), "")


def _value(value: Any, kind: Any, path: str) -> Iterator[str]:  # noqa: ANN401  # any value against any type
    if isinstance(value, Either):
        for option in value.options:
            yield from _value(option, kind, path)
    elif value is not None and not isinstance(value, Unknown):  # Bicep leaves out what is null
        tried = [list(_one(value, one, path)) for one in _alternatives(kind)]
        yield from tried[0] if all(tried) else ()


def _alternatives(kind: Any) -> list[Any]:  # noqa: ANN401
    """The types that are allowed. An enumeration comes with the plain type of its values: then it alone counts."""
    parts = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    enums = [part for part in parts if isinstance(part, type) and issubclass(part, enum.Enum)]
    return enums or [part for part in parts if part is not type(None)]


def _one(value: Any, kind: Any, path: str) -> Iterator[str]:  # noqa: ANN401
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if _is_object(kind):
        shape = kind if isinstance(kind, Shape) else shape_of(kind)
        yield from _object(value, shape, path) if isinstance(value, dict) else _wrong(value, shape.name, path)
    elif origin is list:
        if not isinstance(value, list):
            yield from _wrong(value, "a list", path)
            return
        for n, item in enumerate(value):
            yield from _value(item, arguments[0], f"{path}[{n}]")
    elif origin is dict:
        if not isinstance(value, dict):
            yield from _wrong(value, "an object", path)
            return
        for name, item in value.items():
            yield from _value(item, arguments[1], f"{path}.{name}")
    elif isinstance(kind, type):
        yield from _scalar(value, kind, path)


def _scalar(value: object, kind: type, path: str) -> Iterator[str]:
    if issubclass(kind, enum.Enum):
        allowed = [one.value for one in kind]
        if value not in allowed:
            yield f"{path}: {value!r} is none of {allowed}"
    elif kind is timedelta:
        if not (isinstance(value, str) and _ISO_SPAN.fullmatch(value)):
            yield from _wrong(value, "a span of time in ISO 8601", path)
    elif kind in (bool, int, str, float, datetime):
        wanted = {float: (int, float), datetime: (str,)}.get(kind, (kind,))
        if type(value) not in wanted:
            yield from _wrong(value, kind.__name__, path)


def _wrong(value: object, wanted: str, path: str) -> Iterator[str]:
    yield f"{path}: {value!r} is not {wanted}"


# ------------------------------------------------------------------------------------------------------- shapes


def _is_object(kind: object) -> bool:
    return isinstance(kind, Shape) or _is_model(kind)


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and (hasattr(kind, "_attribute_map") or hasattr(kind, "_is_model"))


@cache
def shape_of(kind: type) -> Shape:
    """The shape of an SDK's class; the SDKs come in two styles."""
    return _older(kind) if hasattr(kind, "_attribute_map") else _newer(kind)


def _names(kind: type) -> dict[str, Any]:
    """What the annotations of a class may name."""
    module = sys.modules[kind.__module__]
    package = import_module(kind.__module__.rpartition(".")[0])
    return {**vars(typing), **vars(module), "_models": package, "_types": types, "JSON": dict[str, Any]}


def _newer(kind: type) -> Shape:
    """Of a class whose properties are fields with the names of REST."""
    shape = Shape(kind.__name__)
    known: dict[str, Any] = kind({})._attr_to_rest_field  # filled by the first instance
    annotations = {
        name: text
        for base in reversed(kind.__mro__)
        for name, text in getattr(base, "__annotations__", {}).items()
    }
    for name, rest in known.items():
        owner = next(base for base in kind.__mro__ if name in getattr(base, "__annotations__", {}))
        hint = _resolved(annotations[name], _names(owner))
        if rest._visibility == ["read"]:
            shape.read_only[rest._rest_name] = hint
        else:
            shape.fields[rest._rest_name] = hint
            if type(None) not in typing.get_args(hint):
                shape.required.add(rest._rest_name)
    return shape


def _older(kind: Any) -> Shape:  # noqa: ANN401  # its maps are no part of a declared type
    """Of a class with maps beside it: names with dots are of nested objects."""
    top = Shape(kind.__name__)
    hints = {
        name: _resolved(text, _names(kind))
        for name, text in kind.__init__.__annotations__.items()
        if name != "return"
    }
    for name, entry in kind._attribute_map.items():
        rules = kind._validation.get(name, {})
        *outer, last = re.split(r"(?<!\\)\.", entry["key"])
        shape = top
        for step in outer:
            shape = shape.fields.setdefault(step, Shape(f"{kind.__name__}.{step}"))
        if rules.get("readonly") or name not in hints:
            shape.read_only[last] = hints.get(name, Any)
        else:
            shape.fields[last] = hints[name]
            if rules.get("required"):
                shape.required.add(last)
    return top


def _resolved(hint: Any, names: dict[str, Any]) -> Any:  # noqa: ANN401
    """An annotation with the classes that it names."""
    holder = types.new_class("Holder", (), {}, lambda space: space.update(__annotations__={"it": hint}))
    return typing.get_type_hints(holder, globalns=names)["it"]
