// Everything the job needs, in one deployment at subscription scope: its own resource group, and one role on each
// workspace that it reads. docs/deploy.md explains how to deploy it, docs/security.md the reason for each role.
targetScope = 'subscription'

// ------------------------------------------------------------------------------------------------------ what and where

@description('Name of this installation. Resource names derive from it.')
@minLength(1)
@maxLength(40)
param environmentName string

@description('Region of all resources. It must offer Flex Consumption: az functionapp list-flexconsumption-locations.')
@minLength(1)
@metadata({ azd: { type: 'location' } })
param location string

@description('Tags for all resources.')
param tags { *: string } = {}

@description('Names of resources, for a naming policy: resourceGroup, identity, workspace, insights, storage, vault, plan, app, actionGroup, network, networkSecurityGroup. Derived names for the others.')
param resourceNames { *: string } = {}

// -------------------------------------------------------------------------------------------------------------- input

@description('Full resource id of the Log Analytics workspace that the OpenAI connector writes to. It may be in another resource group or subscription of the tenant.')
@minLength(100)
param workspaceResourceId string

@description('Resource ids of further workspaces to read in the same query, comma-separated.')
param moreWorkspaceResourceIds string = ''

@description('"inline" sends the connector\'s parser functions with each query. "alias" uses the functions saved in the workspace, which needs a wider role.')
@allowed(['inline', 'alias'])
param parsers string = 'inline'

@description('Rule folders to run, comma-separated. The default rule if empty.')
param rules string = ''

@description('How late a row may arrive and still be read, ISO 8601, at least PT23H. 23 hours if empty.')
param allowedLateness string = ''

@description('How far a run catches up after an outage, ISO 8601, P1D to P25D.')
@minLength(3)
param maxCatchUp string = 'P14D'

// ------------------------------------------------------------------------------------------------------------- output

@description('URL that alerts are posted to, https only. Stored in Key Vault.')
@secure()
param webhookUrl string = ''

@description('Format of the messages. Chosen by the host of the URL if empty.')
@allowed(['', 'native', 'slack', 'teams', 'ocsf'])
param webhookFormat string = ''

@description('Standard Webhooks signing secret: whsec_ and 24 to 64 random bytes in base64. Set two, comma-separated, while rotating. Stored in Key Vault.')
@secure()
param webhookSecret string = ''

@description('Several destinations, a JSON list of {name, url, format, secret, minimum_severity, routing_key}. Replaces webhookUrl, webhookFormat and webhookSecret. Stored in Key Vault.')
@secure()
param webhooks string = ''

@description('A run with more alerts than this sends one digest to each destination.')
@minValue(1)
@maxValue(1000)
param stormAlerts int = 20

@description('Signals of one grouping key that are marked individually. Above it, the alert covers the time from the first to the last signal of the actor with the most signals.')
@minValue(1000)
@maxValue(1000000)
param floodSignals int = 500000

@description('URL of the incident page, up to /incidents, for links in messages. The address of the app if empty.')
param pageUrl string = ''

@description('Client id of the Entra app registration that signs people in to the incident page. If empty, the function key grants access.')
param pageClientId string = ''

@description('Object ids of the Entra groups whose members may sign in to the incident page, comma-separated; their ids must be in the token. The operators\' group if empty. "assigned" relies on the registration: it must require assignment.')
param pageGroupIds string = ''

@description('URL that is fetched after every fully complete run, for a dead man\'s switch outside Azure. Stored in Key Vault.')
@secure()
param heartbeatUrl string = ''

@description('E-mail addresses to notify when the job itself fails, comma-separated.')
param alarmEmails string = ''

@description('Resource id of an existing action group to notify as well.')
param actionGroupResourceId string = ''

@description('Object id of the Entra group whose members read the incident table. They act through the app. No group if empty.')
param operatorsGroupId string = ''

// ------------------------------------------------------------------------------------------------------------ how it runs

@description('When the detection runs, NCRONTAB of five or six fields, UTC. The alarms expect a run at least once an hour.')
@minLength(9)
param detectSchedule string = '0 5 * * * *'

@description('When waiting messages are retried, NCRONTAB of five or six fields, UTC.')
@minLength(9)
param deliverSchedule string = '0 2/5 * * * *'

@description('Name of the incident table.')
@minLength(3)
@maxLength(63)
param incidentTable string = 'incidents'

@description('Memory of an instance. docs/deploy.md has measurements.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('Maximum number of instances. Each of the two timers needs one; 40 was long the minimum of Flex Consumption.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Retention of the job\'s own log in days.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 90

@description('Whether deleted secrets are protected from purging for seven days. It cannot be switched off again.')
param vaultPurgeProtection bool = false

@description('Whether a lock keeps the storage account, and so the incidents, from being deleted. Needs the right to manage locks, and must be removed before azd down.')
param storageLock bool = false

@description('Whether storage and vault accept private endpoints only.')
param privateNetwork bool = false

@description('Address range of the virtual network with PRIVATE_NETWORK=true.')
@minLength(9)
param addressPrefix string = '10.90.0.0/24'

@description('Resource id of an existing subnet for the app with PRIVATE_NETWORK=true, delegated to Microsoft.App/environments, instead of an own network. Needs endpointSubnetId.')
param appSubnetId string = ''

@description('Resource id of an existing subnet for the private endpoints.')
param endpointSubnetId string = ''

@description('Resource id of the resource group that has the central private DNS zones, instead of own zones. "policy" leaves the records to an Azure Policy.')
param dnsZonesId string = ''

@description('Whether the app, with page, health, run and deployments, is reached by a private endpoint only. Needs privateNetwork.')
param privatePage bool = false

@description('Whether the person or program that deploys gets the operators\' role on the incident table.')
param deployerOperates bool = false

// --------------------------------------------------------------------------------------------------------------- names

var token = uniqueString(subscription().id, environmentName, location)
var allTags = union(tags, { 'azd-env-name': environmentName })
var workspaceIds = concat(
  [workspaceResourceId],
  empty(moreWorkspaceResourceIds) ? [] : split(replace(moreWorkspaceResourceIds, ' ', ''), ',')
)

// Constants, so that what-if can evaluate the modules that get them.
var derivedNames = {
  resourceGroup: 'rg-${environmentName}'
  identity: 'id-detection-${token}'
  workspace: 'log-detection-${token}'
  insights: 'appi-detection-${token}'
  storage: 'st${token}'
  vault: 'kv-${token}'
  plan: 'plan-detection-${token}'
  app: 'func-detection-${token}'
  actionGroup: 'ag-detection-${token}'
  network: 'vnet-detection-${token}'
  networkSecurityGroup: 'nsg-detection-${token}'
}
var names = union(derivedNames, resourceNames)

var pageGroups = empty(pageGroupIds) ? operatorsGroupId : pageGroupIds

// The query API of each cloud. Bicep's environment() does not have it.
var queryEndpoints = {
  AzureCloud: 'https://api.loganalytics.io'
  AzureUSGovernment: 'https://api.loganalytics.us'
  AzureChinaCloud: 'https://api.loganalytics.azure.cn'
}

// The domain of function apps in each cloud, which environment() does not have either.
var siteDomains = {
  AzureCloud: 'azurewebsites.net'
  AzureUSGovernment: 'azurewebsites.us'
  AzureChinaCloud: 'chinacloudsites.cn'
}

var problems = filter(
  [
    empty(webhookUrl) && empty(webhooks)
      ? 'Neither WEBHOOK_URL (webhookUrl) nor WEBHOOKS (webhooks) is set: alerts would reach no one. Set one of them.'
      : ''
    !empty(pageClientId) && empty(pageGroups)
      ? 'PAGE_CLIENT_ID (pageClientId) is set, but neither PAGE_GROUP_IDS (pageGroupIds) nor OPERATORS_GROUP_ID (operatorsGroupId) is: every user of the tenant could sign in to the incident page. Set one of them, or PAGE_GROUP_IDS to assigned if the registration requires assignment.'
      : ''
    length(objectKeys(names)) > length(objectKeys(derivedNames))
      ? 'RESOURCE_NAMES (resourceNames) names a resource other than ${join(objectKeys(derivedNames), ', ')}.'
      : ''
    empty(appSubnetId) != empty(endpointSubnetId) || (!privateNetwork && (privatePage || !empty('${appSubnetId}${dnsZonesId}')))
      ? 'APP_SUBNET_ID and ENDPOINT_SUBNET_ID are set together, and they, DNS_ZONES_ID and PRIVATE_PAGE need PRIVATE_NETWORK=true.'
      : ''
  ],
  problem => !empty(problem)
)

// --------------------------------------------------------------------------------------------------------------- parts

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: names.resourceGroup
  location: location
  tags: allTags
}

module identity 'identity.bicep' = {
  scope: group
  params: {
    location: location
    tags: allTags
    name: names.identity
  }
}

module telemetry 'telemetry.bicep' = {
  scope: group
  params: {
    location: location
    tags: allTags
    workspaceName: names.workspace
    insightsName: names.insights
    #disable-next-line what-if-short-circuiting // role names derive from the principal id, which exists only after the identity
    principalId: identity.outputs.principalId
    retentionDays: logRetentionDays
  }
}

module storage 'storage.bicep' = {
  scope: group
  params: {
    location: location
    tags: allTags
    name: names.storage
    #disable-next-line what-if-short-circuiting // role names derive from the principal id, which exists only after the identity
    principalId: identity.outputs.principalId
    incidentTable: incidentTable
    operatorsGroupId: operatorsGroupId
    deployerId: deployerOperates ? deployer().objectId : ''
    locked: storageLock
    isPrivate: privateNetwork
  }
}

module vault 'vault.bicep' = {
  scope: group
  params: {
    location: location
    tags: allTags
    name: names.vault
    #disable-next-line what-if-short-circuiting // role names derive from the principal id, which exists only after the identity
    principalId: identity.outputs.principalId
    webhookUrl: empty(webhooks) ? webhookUrl : '' // the job refuses both
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
    networkName: names.network
    guardName: names.networkSecurityGroup
    addressPrefix: addressPrefix
    appSubnetId: appSubnetId
    endpointSubnetId: endpointSubnetId
    dnsZonesId: dnsZonesId
    storageId: storage.outputs.id
    vaultId: vault.outputs.id
  }
}

// Deployed to the resource group of each workspace, which may be in another subscription.
module readers 'workspace-reader.bicep' = [
  for id in workspaceIds: {
    scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
    params: {
      workspaceName: last(split(id, '/'))
      #disable-next-line what-if-short-circuiting // role names derive from the principal id, which exists only after the identity
      principalId: identity.outputs.principalId
      savedFunctions: parsers == 'alias'
    }
  }
]

module app 'app.bicep' = {
  scope: group
  dependsOn: [telemetry] // insightsName is a constant and implies no order
  params: {
    location: location
    tags: allTags
    name: names.app
    planName: names.plan
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    storageName: names.storage
    packageContainer: storage.outputs.packageContainer
    insightsName: names.insights
    subnetId: network.?outputs.appSubnetId ?? ''
    isPrivate: privatePage
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
    pageGroupIds: contains(['', 'assigned'], pageGroups) ? [] : split(replace(pageGroups, ' ', ''), ',')
    webhookUrlReference: empty(webhooks) ? vault.outputs.webhookUrlReference : ''
    webhookSignatureReference: empty(webhookSecret) || !empty(webhooks) ? '' : vault.outputs.webhookSignatureReference
    webhooksReference: empty(webhooks) ? '' : vault.outputs.webhooksReference
    heartbeatUrlReference: empty(heartbeatUrl) ? '' : vault.outputs.heartbeatUrlReference
    linkKeyReference: vault.outputs.linkKeyReference
  }
}

module page 'page.bicep' = if (privatePage) {
  scope: group
  dependsOn: [app] // its name is a constant and implies no order
  params: {
    location: location
    tags: allTags
    token: token
    appName: names.app
    subnetId: network.?outputs.endpointSubnetId ?? ''
    networkId: network.?outputs.id ?? ''
    dnsZonesId: dnsZonesId
    zoneName: 'privatelink.${siteDomains[environment().name]}'
  }
}

module audit 'audit.bicep' = {
  scope: group
  dependsOn: [app] // which comes after the others; the names are constants and imply no order
  params: {
    vaultName: names.vault
    storageName: names.storage
    appName: names.app
    workspaceName: names.workspace
    signsIn: !empty(pageClientId)
  }
}

module alerts 'alerts.bicep' = {
  // Names are evaluated before anything is deployed, so this stops a deployment that could not work or be safe.
  #disable-next-line no-module-name
  name: empty(problems) ? 'alerts-${token}' : fail(join(problems, ' '))
  scope: group
  params: {
    location: location
    tags: allTags
    token: token
    actionGroupName: names.actionGroup
    insightsId: telemetry.outputs.insightsId
    appId: app.outputs.id
    emails: empty(alarmEmails) ? [] : split(alarmEmails, ',')
    actionGroupResourceId: actionGroupResourceId
  }
}

// azd stores these as environment variables; the README and docs/deploy.md use the same names.
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_FUNCTION_NAME string = app.outputs.name
output AZURE_IDENTITY_PRINCIPAL_ID string = identity.outputs.principalId
output AZURE_KEY_VAULT_NAME string = vault.outputs.name
output APPLICATIONINSIGHTS_NAME string = telemetry.outputs.insightsName
output INCIDENT_STORAGE string = storage.outputs.tableEndpoint
output INCIDENT_TABLE string = incidentTable
output ALARM_RECIPIENTS string = empty(alarmEmails) && empty(actionGroupResourceId)
  ? 'NO PERSON: set ALARM_EMAILS or ACTION_GROUP_RESOURCE_ID and deploy again'
  : join(filter([alarmEmails, actionGroupResourceId], recipient => !empty(recipient)), ', ')
