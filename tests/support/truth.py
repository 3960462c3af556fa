"""What both rules are to say about every value they decide by, written out by hand: the engine is not its own witness.

A part of it is in the product, for `check` asks it of the user's workspace too.
"""

from collections.abc import Mapping

from detection.check.questions import predicates

_WRITTEN = predicates()

LISTED = tuple(_WRITTEN["event types"].lines)
"""The documented audit event types that the published list of ten names meets: 30 of 149."""

ROLE_UPDATES = ("service_account.updated", "user.updated")
"""Not met by the list; the default rule takes them when their details speak of a role."""

UNLISTED = (
    *ROLE_UPDATES,
    "api_key.deleted",
    "api_key.updated",
    "certificate.created",
    "certificate.deleted",
    "certificate.updated",
    "certificates.activated",
    "certificates.deactivated",
    "checkpoint.permission.created",
    "checkpoint.permission.deleted",
    "external_key.registered",
    "external_key.removed",
    "external_storage.registered",
    "external_storage.removed",
    "group.created",
    "group.deleted",
    "group.updated",
    "ip_allowlist.config.activated",
    "ip_allowlist.config.deactivated",
    "ip_allowlist.created",
    "ip_allowlist.deleted",
    "ip_allowlist.updated",
    "login.failed",
    "login.succeeded",
    "logout.failed",
    "logout.succeeded",
    "project.archived",
    "project.deleted",
    "project.updated",
    "rate_limit.deleted",
    "rate_limit.updated",
    "resource.deleted",
    "scim.disabled",
    "scim.enabled",
    "service_account.deleted",
    "tenant.admin_api_key.deleted",
    "tenant.admin_api_key.updated",
    "tenant.ads_account.onboarding.redemption",
    "tenant.billing.alerts.updated",
    "tenant.billing.info.updated",
    "tenant.billing.overage_limit.updated",
    "tenant.chatgpt_access_token.revoked",
    "tenant.domains.migrated",
    "tenant.group.created",
    "tenant.group.deleted",
    "tenant.group.member.added",
    "tenant.group.member.removed",
    "tenant.group.updated",
    "tenant.membership.accepted",
    "tenant.membership.declined",
    "tenant.membership.revoked",
    "tenant.metadata.updated",
    "tenant.microsoft_entra_mapping.deleted",
    "tenant.microsoft_entra_mapping.upserted",
    "tenant.migration.completed",
    "tenant.migration_rollout.status.updated",
    "tenant.migration_rollout.tier.updated",
    "tenant.policy.attached",
    "tenant.policy.created",
    "tenant.policy.deleted",
    "tenant.policy.detached",
    "tenant.policy.updated",
    "tenant.principal_authentication_policy.resolved",
    "tenant.product_access_policy.updated",
    "tenant.resource_access.deleted",
    "tenant.resource_access.updated",
    "tenant.resource_share_grant.accepted",
    "tenant.resource_share_grant.created",
    "tenant.resource_share_grant.declined",
    "tenant.resource_share_grant.deleted",
    "tenant.resource_share_grant.revoked",
    "tenant.resource_share_grant.updated",
    "tenant.scim.deletion.requested",
    "tenant.scim.directory.created",
    "tenant.scim.setup.started",
    "tenant.service_account.deleted",
    "tenant.service_account.token.revoked",
    "tenant.service_account.updated",
    "tenant.session_policy.created",
    "tenant.session_policy.deleted",
    "tenant.session_policy.updated",
    "tenant.session_revocation.started",
    "tenant.sso.migrated",
    "tenant.sso_connection.created",
    "tenant.sso_connection.deleted",
    "tenant.sso_connection.setup.started",
    "tenant.sso_connection.updated",
    "tenant.third_party_app_policy.updated",
    "tenant.trusted_access.application.submitted",
    "tenant.trusted_access.business_verification.started",
    "tenant.usage_limit.group.updated",
    "tenant.usage_limit.increase_request.resolved",
    "tenant.usage_limit.increase_request.updated",
    "tenant.usage_limit.user.updated",
    "tenant.usage_limit.workspace.updated",
    "tenant.user.invited",
    "tenant.user.looked_up",
    "tenant.user.removed",
    "tenant.user.updated",
    "tenant.workload_identity.access_token.issued",
    "tenant.workload_identity.binding.created",
    "tenant.workload_identity.mapping.archived",
    "tenant.workload_identity.mapping.created",
    "tenant.workload_identity.mapping.updated",
    "tenant.workload_identity.principal.provisioned",
    "tenant.workload_identity.provider.archived",
    "tenant.workload_identity.provider.created",
    "tenant.workload_identity.provider.updated",
    "tunnel.created",
    "tunnel.deleted",
    "tunnel.updated",
    "user.deleted",
    "workload_identity_provider.created",
    "workload_identity_provider.deleted",
    "workload_identity_provider.updated",
    "workload_identity_provider_mapping.created",
    "workload_identity_provider_mapping.deleted",
    "workload_identity_provider_mapping.updated",
)
"""The documented audit event types that it does not meet: 119."""

SPELLINGS: Mapping[str, bool] = _WRITTEN["other spellings"].lines
"""Other spellings of event types, and whether the list meets them: any case, whole terms, `_` ends a term."""

EVENT_DETAILS: Mapping[str, bool] = {**_WRITTEN["details of an update"].lines, "(absent)": False}
"""Details of an update as JSON, and whether they speak of a role."""

PUBLISHED_REASONS: Mapping[str, bool] = {**_WRITTEN["finish reasons"].lines, "(absent)": False}
"""Finish reasons as JSON, and whether the published rule takes them for an abuse signal."""

NO_REASON = ('[""]', "[null]", "null", "(absent)")
"""What the connector or a missing value makes of "no finish reason": the default rule takes these too."""

REASON_KINDS: Mapping[str, str] = {
    '["content_filter"]': "content_filter",
    '["CONTENT_FILTER"]': "content_filter",
    '"content_filter"': "content_filter",
    '["length"]': "length",
    '["stop","length"]': "length",
    '["max_length"]': "length",
    '["length","content_filter"]': "content_filter",
    "[]": "none",
    '[""]': "none",
    "[null]": "none",
    "null": "none",
    "(absent)": "none",
}
"""Finish reasons as JSON, and what kind of signal the default rule calls them."""

REASONS = ("api_key_actor", "role_change_in_update", "finish_reason_missing", "outside_published_window")
"""Why a pair goes beyond the published rule."""
