// The job's secrets, and the references by which the app reads them. Empty secrets are not stored.
param location string
param tags { *: string }

@description('Name of the vault.')
param name string

@description('The job\'s identity, which reads the secrets.')
param principalId string

@secure()
param webhookUrl string
@secure()
param webhookSecret string
@secure()
param webhooks string
@secure()
param heartbeatUrl string

@description('A new key of signed links, which only the first deployment stores.')
@secure()
param newLinkKey string = '${newGuid()}${newGuid()}'

@description('Whether deleted secrets are protected from purging for seven days.')
param purgeProtection bool

@description('Whether only private endpoints have access.')
param isPrivate bool

var roles = {
  keyVaultSecretsUser: '4633458b-17de-408a-b874-0445c86b69e6'
}

resource vault 'Microsoft.KeyVault/vaults@2026-02-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 7
    enablePurgeProtection: purgeProtection ? true : null // the service rejects false
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    networkAcls: {
      defaultAction: isPrivate ? 'Deny' : 'Allow'
      bypass: isPrivate ? 'None' : 'AzureServices'
    }
  }
}

resource urlSecret 'Microsoft.KeyVault/vaults/secrets@2026-02-01' = if (!empty(webhookUrl)) {
  parent: vault
  name: 'webhook-url'
  properties: { value: webhookUrl, contentType: 'text/plain' }
}

resource signingSecret 'Microsoft.KeyVault/vaults/secrets@2026-02-01' = if (!empty(webhookSecret)) {
  parent: vault
  name: 'webhook-secret'
  properties: { value: webhookSecret, contentType: 'text/plain' }
}

resource listSecret 'Microsoft.KeyVault/vaults/secrets@2026-02-01' = if (!empty(webhooks)) {
  parent: vault
  name: 'webhooks'
  properties: { value: webhooks, contentType: 'application/json' }
}

resource heartbeatSecret 'Microsoft.KeyVault/vaults/secrets@2026-02-01' = if (!empty(heartbeatUrl)) {
  parent: vault
  name: 'heartbeat-url'
  properties: { value: heartbeatUrl, contentType: 'text/plain' }
}

// Later deployments keep the key, so links stay valid. docs/security.md says how to replace it.
@onlyIfNotExists()
resource linkSecret 'Microsoft.KeyVault/vaults/secrets@2026-02-01' = {
  parent: vault
  name: 'link-key'
  properties: { value: newLinkKey, contentType: 'text/plain' }
}

resource reads 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, principalId, roles.keyVaultSecretsUser)
  scope: vault
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.keyVaultSecretsUser)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

output id string = vault.id
output name string = vault.name

// References for the app settings. They name no version, so the app reads a new value within a day, or after a refresh:
// docs/deploy.md.
output webhookUrlReference string = '@Microsoft.KeyVault(SecretUri=${vault.properties.vaultUri}secrets/${urlSecret.name})'
output webhookSignatureReference string = '@Microsoft.KeyVault(SecretUri=${vault.properties.vaultUri}secrets/${signingSecret.name})'
output webhooksReference string = '@Microsoft.KeyVault(SecretUri=${vault.properties.vaultUri}secrets/${listSecret.name})'
output heartbeatUrlReference string = '@Microsoft.KeyVault(SecretUri=${vault.properties.vaultUri}secrets/${heartbeatSecret.name})'
output linkKeyReference string = '@Microsoft.KeyVault(SecretUri=${vault.properties.vaultUri}secrets/${linkSecret.name})'
