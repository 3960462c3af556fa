// Everything the job needs, in one deployment at subscription scope: a resource group of its own, and one role on
// each workspace that it reads. Read it from top to bottom; docs/deploy.md says how to run it, docs/security.md why
// each role is there.
targetScope = 'subscription'

// ------------------------------------------------------------------------------------------------------ what and where

@description('Name of this installation; names of resources are derived from it.')
@minLength(1)
@maxLength(40)
param environmentName string

@description('Region of everything that is created. It has to offer Flex Consumption: az functionapp list-flexconsumption-locations.')
@minLength(1)
@metadata({ azd: { type: 'location' } })
param location string

@description('Tags for everything that is created.')
param tags { *: string } = {}

// -------------------------------------------------------------------------------------------------------------- input

@description('Log Analytics workspace that the OpenAI connector writes to, its whole resource id. It may be in another resource group or subscription of the tenant.')
@minLength(100)
param workspaceResourceId string

@description('Further workspaces to read in the same query, their resource ids, comma-separated.')
param moreWorkspaceResourceIds string = ''

@description('"inline" sends the connector\'s parser functions with each query. "alias" uses those saved in the workspace, and reading them takes a wider role.')
@allowed(['inline', 'alias'])
param parsers string = 'inline'

@description('Rule folders to run, comma-separated; the default rule if empty.')
param rules string = ''

@description('How late a row may arrive and still be read, ISO 8601, at least PT23H; 23 hours if empty.')
param allowedLateness string = ''

@description('How far a run reaches back after an outage, ISO 8601, P1D to P26D.')
@minLength(3)
param maxCatchUp string = 'P14D'

// ------------------------------------------------------------------------------------------------------------- output

@description('Where alerts are posted; https only. Kept in Key Vault.')
@secure()
param webhookUrl string = ''

@description('Format of the messages; chosen by the host of the URL if empty.')
@allowed(['', 'native', 'slack', 'teams'])
param webhookFormat string = ''

@description('Signs messages by Standard Webhooks: whsec_ and 24 to 64 random bytes in base64; two, comma-separated, while rotating. Kept in Key Vault.')
@secure()
param webhookSecret string = ''

@description('Several destinations, a JSON list of {name, url, format, secret, minimum_severity, routing_key}; webhookUrl, webhookFormat and webhookSecret are then not used. Kept in Key Vault.')
@secure()
param webhooks string = ''

@description('More alerts than this in a run are told in one digest for each destination.')
@minValue(1)
@maxValue(1000)
param stormAlerts int = 20

@description('Signals of one key that are remembered one by one; beyond, everything of it up to the latest counts as told.')
@minValue(1000)
@maxValue(1000000)
param floodSignals int = 500000

@description('Where the incident page is reached, up to /incidents, for links in messages; the address of the app if empty.')
param pageUrl string = ''

@description('Client id of an Entra app registration that signs people in to the incident page; the function key lets them in if empty.')
param pageClientId string = ''

@description('Fetched after every fully complete run, for a dead man\'s switch outside of Azure. Kept in Key Vault.')
@secure()
param heartbeatUrl string = ''

@description('E-mail addresses that are told when the job itself is in trouble, comma-separated.')
param alarmEmails string = ''

@description('Action group of yours that is told as well, its resource id.')
param actionGroupResourceId string = ''

@description('Object id of the Entra group whose members read and close incidents; nobody if empty.')
param operatorsGroupId string = ''

// ------------------------------------------------------------------------------------------------------------ how it runs

@description('When the detection runs, NCRONTAB, UTC. The alarms expect it at least once an hour.')
@minLength(11)
param detectSchedule string = '0 5 * * * *'

@description('When waiting messages are tried again, NCRONTAB.')
@minLength(11)
param deliverSchedule string = '0 2/5 * * * *'

@description('Table of the incidents.')
@minLength(3)
@maxLength(63)
param incidentTable string = 'incidents'

@description('Memory of an instance; docs/deploy.md has what was measured.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('Most instances at a time. A timer needs one for each of the two functions; 40 was long the least that Flex Consumption takes.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Days for which the job\'s own log is kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 90

@description('Whether deleted secrets can be purged by nobody for seven days. It cannot be switched off again.')
param vaultPurgeProtection bool = false

@description('Whether storage and vault are reached through private endpoints only.')
param privateNetwork bool = false

@description('Addresses of the virtual network, if there is one.')
@minLength(9)
param addressPrefix string = '10.90.0.0/24'

// --------------------------------------------------------------------------------------------------------------- names

var token = uniqueString(subscription().id, environmentName, location)
var allTags = union(tags, { 'azd-env-name': environmentName })
var workspaceIds = concat(
  [workspaceResourceId],
  empty(moreWorkspaceResourceIds) ? [] : split(replace(moreWorkspaceResourceIds, ' ', ''), ',')
)

// Names that the app is given beforehand, so that what-if can look into its module.
var storageName = 'st${token}'
var insightsName = 'appi-detection-${token}'

// The query API of each cloud. Bicep's environment() does not know it.
var queryEndpoints = {
  AzureCloud: 'https://api.loganalytics.io'
  AzureUSGovernment: 'https://api.loganalytics.us'
  AzureChinaCloud: 'https://api.loganalytics.azure.cn'
}

// --------------------------------------------------------------------------------------------------------------- parts

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: allTags
}

module identity 'identity.bicep' = {
  scope: group
  params: {
    location: location
    tags: allTags
    token: token
  }
}

module telemetry 'telemetry.bicep' = {
  scope: group
  params: {
    location: location
    tags: allTags
    token: token
    insightsName: insightsName
    #disable-next-line what-if-short-circuiting // roles are named after whom they are given to: known when the identity is
    principalId: identity.outputs.principalId
    retentionDays: logRetentionDays
  }
}

module storage 'storage.bicep' = {
  scope: group
  params: {
    location: location
    tags: allTags
    name: storageName
    #disable-next-line what-if-short-circuiting // roles are named after whom they are given to: known when the identity is
    principalId: identity.outputs.principalId
    incidentTable: incidentTable
    operatorsGroupId: operatorsGroupId
    isPrivate: privateNetwork
  }
}

module vault 'vault.bicep' = {
  scope: group
  params: {
    location: location
    tags: allTags
    token: token
    #disable-next-line what-if-short-circuiting // roles are named after whom they are given to: known when the identity is
    principalId: identity.outputs.principalId
    webhookUrl: empty(webhooks) ? webhookUrl : '' // one or the other: the job refuses both
    webhookSecret: empty(webhooks) ? webhookSecret : ''
    webhooks: webhooks
    heartbeatUrl: heartbeatUrl
    purgeProtection: vaultPurgeProtection
    isPrivate: privateNetwork
  }
}

module network 'network.bicep' = if (privateNetwork) {
  scope: group
  params: {
    location: location
    tags: allTags
    token: token
    addressPrefix: addressPrefix
    storageId: storage.outputs.id
    vaultId: vault.outputs.id
  }
}

// In the resource group of each workspace, which may be in another subscription.
module readers 'workspace-reader.bicep' = [
  for id in workspaceIds: {
    scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
    params: {
      workspaceName: last(split(id, '/'))
      #disable-next-line what-if-short-circuiting // roles are named after whom they are given to: known when the identity is
      principalId: identity.outputs.principalId
      savedFunctions: parsers == 'alias'
    }
  }
]

module app 'app.bicep' = {
  scope: group
  dependsOn: [telemetry] // a name that is known beforehand brings no order
  params: {
    location: location
    tags: allTags
    token: token
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    storageName: storageName
    packageContainer: storage.outputs.packageContainer
    insightsName: insightsName
    subnetId: network.?outputs.appSubnetId ?? ''
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    workspaceResourceId: workspaceResourceId
    workspaceCustomerIds: map(readers, reader => reader.outputs.customerId)
    queryEndpoint: queryEndpoints[environment().name]
    parsers: parsers
    rules: rules
    allowedLateness: allowedLateness
    maxCatchUp: maxCatchUp
    incidentTable: incidentTable
    detectSchedule: detectSchedule
    deliverSchedule: deliverSchedule
    webhookFormat: empty(webhooks) ? webhookFormat : ''
    stormAlerts: stormAlerts
    floodSignals: floodSignals
    pageUrl: pageUrl
    pageClientId: pageClientId
    webhookUrlReference: empty(webhooks) ? vault.outputs.webhookUrlReference : ''
    webhookSignatureReference: empty(webhookSecret) || !empty(webhooks) ? '' : vault.outputs.webhookSignatureReference
    webhooksReference: empty(webhooks) ? '' : vault.outputs.webhooksReference
    heartbeatUrlReference: empty(heartbeatUrl) ? '' : vault.outputs.heartbeatUrlReference
  }
}

module alerts 'alerts.bicep' = {
  // Names are evaluated before anything is deployed, and this one is read by no other part: without a destination, nothing is.
  #disable-next-line no-module-name
  name: empty(webhookUrl) && empty(webhooks)
    ? fail('Neither WEBHOOK_URL (webhookUrl) nor WEBHOOKS (webhooks) is set: nobody would hear of an alert')
    : 'alerts-${token}'
  scope: group
  params: {
    location: location
    tags: allTags
    token: token
    insightsId: telemetry.outputs.insightsId
    emails: empty(alarmEmails) ? [] : split(alarmEmails, ',')
    actionGroupResourceId: actionGroupResourceId
  }
}

// azd keeps these as environment variables; the README and docs/deploy.md use them under the same names.
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_FUNCTION_NAME string = app.outputs.name
output AZURE_IDENTITY_PRINCIPAL_ID string = identity.outputs.principalId
output AZURE_KEY_VAULT_NAME string = vault.outputs.name
output APPLICATIONINSIGHTS_NAME string = telemetry.outputs.insightsName
output INCIDENT_STORAGE string = storage.outputs.tableEndpoint
output INCIDENT_TABLE string = incidentTable
