// The parameter values of a deployment, read from environment variables: of the azd environment with azd, of the shell
// with `az deployment sub create --parameters infra/main.bicepparam`. docs/deploy.md lists the variables.
//
// White space around a value is removed. An empty value counts as not set: GitHub passes unset variables as empty text.
// The defaults of main.bicep are repeated here, because the Azure CLI cannot send `null` to select them.
// Errors name the variable; the compiler's own errors would name the parameter only.
using 'main.bicep'

import { isSchedule } from 'schedule.bicep'

// Text is a whole number if splitting it at these characters leaves only empty parts.
var digits = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']

// ------------------------------------------------------------------------------------------------------ what and where

var AZURE_ENV_NAME = trim(readEnvironmentVariable('AZURE_ENV_NAME', ''))
param environmentName = empty(AZURE_ENV_NAME) || length(AZURE_ENV_NAME) > 40
  ? fail('AZURE_ENV_NAME must be the name of this installation, 1 to 40 characters.')
  : AZURE_ENV_NAME

var AZURE_LOCATION = trim(readEnvironmentVariable('AZURE_LOCATION', ''))
param location = empty(AZURE_LOCATION)
  ? fail('AZURE_LOCATION must be the region to deploy to, such as westeurope.')
  : AZURE_LOCATION

var TAGS = trim(readEnvironmentVariable('TAGS', ''))
param tags = empty(TAGS)
  ? {}
  : empty(filter(split(TAGS, ','), tag => indexOf(trim(tag), '=') < 1))
      ? toObject(
          split(TAGS, ','),
          tag => trim(first(split(tag, '='))),
          tag => trim(join(skip(split(tag, '='), 1), '='))
        )
      : fail('TAGS must be tags as name=value, comma-separated, not "${TAGS}".')

var RESOURCE_NAMES = trim(readEnvironmentVariable('RESOURCE_NAMES', ''))
param resourceNames = empty(RESOURCE_NAMES)
  ? {}
  : empty(filter(split(RESOURCE_NAMES, ','), pair => indexOf(trim(pair), '=') < 1))
      ? toObject(
          split(RESOURCE_NAMES, ','),
          pair => trim(first(split(pair, '='))),
          pair => trim(join(skip(split(pair, '='), 1), '='))
        )
      : fail('RESOURCE_NAMES must be names as resource=name, comma-separated, not "${RESOURCE_NAMES}".')

// -------------------------------------------------------------------------------------------------------------- input

var LOG_ANALYTICS_WORKSPACE_RESOURCE_ID = trim(readEnvironmentVariable('LOG_ANALYTICS_WORKSPACE_RESOURCE_ID', ''))
param workspaceResourceId = length(LOG_ANALYTICS_WORKSPACE_RESOURCE_ID) < 100
  ? fail('LOG_ANALYTICS_WORKSPACE_RESOURCE_ID must be the full resource id of the workspace to read, /subscriptions/…/workspaces/…: az monitor log-analytics workspace show -g … -n … --query id -o tsv')
  : LOG_ANALYTICS_WORKSPACE_RESOURCE_ID

param moreWorkspaceResourceIds = trim(readEnvironmentVariable('LOG_ANALYTICS_MORE_WORKSPACE_RESOURCE_IDS', ''))

var PARSERS = trim(readEnvironmentVariable('PARSERS', ''))
param parsers = empty(PARSERS)
  ? 'inline'
  : contains(['inline', 'alias'], PARSERS) ? PARSERS : fail('PARSERS must be inline or alias, not "${PARSERS}".')

param rules = trim(readEnvironmentVariable('RULES', ''))

param allowedLateness = trim(readEnvironmentVariable('ALLOWED_LATENESS', ''))

var MAX_CATCH_UP = trim(readEnvironmentVariable('MAX_CATCH_UP', ''))
param maxCatchUp = empty(MAX_CATCH_UP)
  ? 'P14D'
  : length(MAX_CATCH_UP) < 3
      ? fail('MAX_CATCH_UP must be an ISO 8601 duration, P1D to P25D, not "${MAX_CATCH_UP}".')
      : MAX_CATCH_UP

// ------------------------------------------------------------------------------------------------------------- output

// No secret is required here, because `azd down` evaluates this file too. main.bicep requires a destination.
var WEBHOOK_URL = trim(readEnvironmentVariable('WEBHOOK_URL', ''))
param webhookUrl = startsWith(WEBHOOK_URL, 'akvs://')
  ? fail('WEBHOOK_URL refers to a vault, which azd does not resolve in a .bicepparam file: remove its line from .azure/…/.env, and export WEBHOOK_URL in the shell.')
  : WEBHOOK_URL

var WEBHOOK_FORMAT = trim(readEnvironmentVariable('WEBHOOK_FORMAT', ''))
param webhookFormat = contains(['', 'native', 'slack', 'teams', 'ocsf'], WEBHOOK_FORMAT)
  ? WEBHOOK_FORMAT
  : fail('WEBHOOK_FORMAT must be native, slack, teams or ocsf, not "${WEBHOOK_FORMAT}".')

var WEBHOOK_SECRET = trim(readEnvironmentVariable('WEBHOOK_SECRET', ''))
param webhookSecret = startsWith(WEBHOOK_SECRET, 'akvs://')
  ? fail('WEBHOOK_SECRET refers to a vault, which azd does not resolve in a .bicepparam file: remove its line from .azure/…/.env, and export WEBHOOK_SECRET in the shell.')
  : WEBHOOK_SECRET

var WEBHOOKS = trim(readEnvironmentVariable('WEBHOOKS', ''))
param webhooks = startsWith(WEBHOOKS, 'akvs://')
  ? fail('WEBHOOKS refers to a vault, which azd does not resolve in a .bicepparam file: remove its line from .azure/…/.env, and export WEBHOOKS in the shell.')
  : WEBHOOKS

var STORM_ALERTS = trim(readEnvironmentVariable('STORM_ALERTS', ''))
var stormAlertsNumber = empty(STORM_ALERTS)
  ? 20
  : length(STORM_ALERTS) < 9 && empty(join(split(STORM_ALERTS, digits), '')) ? int(STORM_ALERTS) : -1
param stormAlerts = stormAlertsNumber >= 1 && stormAlertsNumber <= 1000
  ? stormAlertsNumber
  : fail('STORM_ALERTS must be a whole number from 1 to 1000, not "${STORM_ALERTS}".')

var FLOOD_SIGNALS = trim(readEnvironmentVariable('FLOOD_SIGNALS', ''))
var floodSignalsNumber = empty(FLOOD_SIGNALS)
  ? 500000
  : length(FLOOD_SIGNALS) < 9 && empty(join(split(FLOOD_SIGNALS, digits), '')) ? int(FLOOD_SIGNALS) : -1
param floodSignals = floodSignalsNumber >= 1000 && floodSignalsNumber <= 1000000
  ? floodSignalsNumber
  : fail('FLOOD_SIGNALS must be a whole number from 1000 to 1000000, not "${FLOOD_SIGNALS}".')

param pageUrl = trim(readEnvironmentVariable('PAGE_URL', ''))

param pageClientId = trim(readEnvironmentVariable('PAGE_CLIENT_ID', ''))

param pageGroupIds = trim(readEnvironmentVariable('PAGE_GROUP_IDS', ''))

var HEARTBEAT_URL = trim(readEnvironmentVariable('HEARTBEAT_URL', ''))
param heartbeatUrl = startsWith(HEARTBEAT_URL, 'akvs://')
  ? fail('HEARTBEAT_URL refers to a vault, which azd does not resolve in a .bicepparam file: remove its line from .azure/…/.env, and export HEARTBEAT_URL in the shell.')
  : HEARTBEAT_URL

param alarmEmails = trim(readEnvironmentVariable('ALARM_EMAILS', ''))

param actionGroupResourceId = trim(readEnvironmentVariable('ACTION_GROUP_RESOURCE_ID', ''))

param operatorsGroupId = trim(readEnvironmentVariable('OPERATORS_GROUP_ID', ''))

// ------------------------------------------------------------------------------------------------------------ how it runs

var DETECT_SCHEDULE = trim(readEnvironmentVariable('DETECT_SCHEDULE', ''))
param detectSchedule = empty(DETECT_SCHEDULE)
  ? '0 5 * * * *'
  : isSchedule(DETECT_SCHEDULE)
      ? DETECT_SCHEDULE
      : fail('DETECT_SCHEDULE must be an NCRONTAB schedule of five or six fields that the Functions host takes, such as 0 5 * * * *, not "${DETECT_SCHEDULE}".')

var DELIVER_SCHEDULE = trim(readEnvironmentVariable('DELIVER_SCHEDULE', ''))
param deliverSchedule = empty(DELIVER_SCHEDULE)
  ? '0 2/5 * * * *'
  : isSchedule(DELIVER_SCHEDULE)
      ? DELIVER_SCHEDULE
      : fail('DELIVER_SCHEDULE must be an NCRONTAB schedule of five or six fields that the Functions host takes, such as 0 5 * * * *, not "${DELIVER_SCHEDULE}".')

var INCIDENT_TABLE = trim(readEnvironmentVariable('INCIDENT_TABLE', ''))
param incidentTable = empty(INCIDENT_TABLE)
  ? 'incidents'
  : length(INCIDENT_TABLE) < 3 || length(INCIDENT_TABLE) > 63
      ? fail('INCIDENT_TABLE must be the name of a table, 3 to 63 characters, not "${INCIDENT_TABLE}".')
      : INCIDENT_TABLE

var INSTANCE_MEMORY_MB = trim(readEnvironmentVariable('INSTANCE_MEMORY_MB', ''))
param instanceMemoryMB = INSTANCE_MEMORY_MB == '512'
  ? 512
  : INSTANCE_MEMORY_MB == '4096'
      ? 4096
      : contains(['', '2048'], INSTANCE_MEMORY_MB)
          ? 2048
          : fail('INSTANCE_MEMORY_MB must be 512, 2048 or 4096, not "${INSTANCE_MEMORY_MB}".')

var MAXIMUM_INSTANCE_COUNT = trim(readEnvironmentVariable('MAXIMUM_INSTANCE_COUNT', ''))
var maximumInstanceCountNumber = empty(MAXIMUM_INSTANCE_COUNT)
  ? 40
  : length(MAXIMUM_INSTANCE_COUNT) < 9 && empty(join(split(MAXIMUM_INSTANCE_COUNT, digits), ''))
      ? int(MAXIMUM_INSTANCE_COUNT)
      : -1
param maximumInstanceCount = maximumInstanceCountNumber >= 1 && maximumInstanceCountNumber <= 1000
  ? maximumInstanceCountNumber
  : fail('MAXIMUM_INSTANCE_COUNT must be a whole number from 1 to 1000, not "${MAXIMUM_INSTANCE_COUNT}".')

var LOG_RETENTION_DAYS = trim(readEnvironmentVariable('LOG_RETENTION_DAYS', ''))
var logRetentionDaysNumber = empty(LOG_RETENTION_DAYS)
  ? 90
  : length(LOG_RETENTION_DAYS) < 9 && empty(join(split(LOG_RETENTION_DAYS, digits), '')) ? int(LOG_RETENTION_DAYS) : -1
param logRetentionDays = logRetentionDaysNumber >= 30 && logRetentionDaysNumber <= 730
  ? logRetentionDaysNumber
  : fail('LOG_RETENTION_DAYS must be a whole number from 30 to 730, not "${LOG_RETENTION_DAYS}".')

var VAULT_PURGE_PROTECTION = toLower(trim(readEnvironmentVariable('VAULT_PURGE_PROTECTION', '')))
param vaultPurgeProtection = contains(['', 'true', 'false'], VAULT_PURGE_PROTECTION)
  ? VAULT_PURGE_PROTECTION == 'true'
  : fail('VAULT_PURGE_PROTECTION must be true or false, not "${VAULT_PURGE_PROTECTION}".')

var STORAGE_LOCK = toLower(trim(readEnvironmentVariable('STORAGE_LOCK', '')))
param storageLock = contains(['', 'true', 'false'], STORAGE_LOCK)
  ? STORAGE_LOCK == 'true'
  : fail('STORAGE_LOCK must be true or false, not "${STORAGE_LOCK}".')

var PRIVATE_NETWORK = toLower(trim(readEnvironmentVariable('PRIVATE_NETWORK', '')))
param privateNetwork = contains(['', 'true', 'false'], PRIVATE_NETWORK)
  ? PRIVATE_NETWORK == 'true'
  : fail('PRIVATE_NETWORK must be true or false, not "${PRIVATE_NETWORK}".')

var ADDRESS_PREFIX = trim(readEnvironmentVariable('ADDRESS_PREFIX', ''))
param addressPrefix = empty(ADDRESS_PREFIX)
  ? '10.90.0.0/24'
  : length(ADDRESS_PREFIX) < 9
      ? fail('ADDRESS_PREFIX must be an address range, such as 10.90.0.0/24, not "${ADDRESS_PREFIX}".')
      : ADDRESS_PREFIX

param appSubnetId = trim(readEnvironmentVariable('APP_SUBNET_ID', ''))

param endpointSubnetId = trim(readEnvironmentVariable('ENDPOINT_SUBNET_ID', ''))

param dnsZonesId = trim(readEnvironmentVariable('DNS_ZONES_ID', ''))

var PRIVATE_PAGE = toLower(trim(readEnvironmentVariable('PRIVATE_PAGE', '')))
param privatePage = contains(['', 'true', 'false'], PRIVATE_PAGE)
  ? PRIVATE_PAGE == 'true'
  : fail('PRIVATE_PAGE must be true or false, not "${PRIVATE_PAGE}".')

var DEPLOYER_OPERATES = toLower(trim(readEnvironmentVariable('DEPLOYER_OPERATES', '')))
param deployerOperates = contains(['', 'true', 'false'], DEPLOYER_OPERATES)
  ? DEPLOYER_OPERATES == 'true'
  : fail('DEPLOYER_OPERATES must be true or false, not "${DEPLOYER_OPERATES}".')
