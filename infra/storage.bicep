// One storage account without keys: the host's blobs, the app's package and the incident table.
param location string
param tags { *: string }

@description('Name of the account.')
@minLength(3)
@maxLength(24)
param name string

@description('The job\'s identity.')
param principalId string

@description('Name of the incident table.')
param incidentTable string

@description('Entra group whose members read the incident table; none if empty.')
param operatorsGroupId string

@description('Who deploys, to get the role of the operators; no one if empty.')
param deployerId string

@description('Whether a lock keeps the account from being deleted.')
param locked bool

@description('Whether only private endpoints have access.')
param isPrivate bool

var roles = {
  storageBlobDataOwner: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
  storageTableDataContributor: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
  storageTableDataReader: '76199698-9eea-4c19-bc75-cec21354c6b6'
}

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: 'Standard_LRS' }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    networkAcls: {
      defaultAction: isPrivate ? 'Deny' : 'Allow'
      bypass: isPrivate ? 'None' : 'AzureServices'
    }
  }

  resource blobs 'blobServices' = {
    name: 'default'
    properties: {
      deleteRetentionPolicy: { enabled: true, days: 7 } // an overwritten package can be restored
    }

    resource packages 'containers' = {
      name: 'packages'
      properties: { publicAccess: 'None' }
    }
  }

  resource tables 'tableServices' = {
    name: 'default'

    resource incidents 'tables' = {
      name: incidentTable
    }
  }
}

// It also keeps the table and the roles on the account from being deleted through Azure Resource Manager, and no row:
// https://learn.microsoft.com/azure/storage/common/lock-account-resource
resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (locked) {
  name: 'incidents'
  scope: account
  properties: {
    level: 'CanNotDelete'
    notes: 'The account holds the incidents. Remove the lock before azd down: docs/deploy.md.'
  }
}

// The host stores its locks and the timers' last runs in containers that it creates, which needs this role:
// https://learn.microsoft.com/azure/azure-functions/functions-reference#connecting-to-host-storage-with-an-identity
// The same role reads the package at every start.
resource keepsBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, principalId, roles.storageBlobDataOwner)
  scope: account
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataOwner)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

// On the account, not on the incident table alone: the host creates its own tables for diagnostic events.
resource keepsTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, principalId, roles.storageTableDataContributor)
  scope: account
  properties: {
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.storageTableDataContributor
    )
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

// Operators read the incident table, and no other. They act through the app: a writer of the table could delete the
// watermark, or insert messages that the job signs and posts.
resource operate 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operatorsGroupId)) {
  name: guid(account::tables::incidents.id, operatorsGroupId, roles.storageTableDataReader)
  scope: account::tables::incidents
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageTableDataReader)
    principalId: operatorsGroupId
    principalType: 'Group'
  }
}

// No principalType: a person or a program deploys.
resource deployerOperates 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(deployerId)) {
  name: guid(account::tables::incidents.id, deployerId, roles.storageTableDataReader)
  scope: account::tables::incidents
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageTableDataReader)
    principalId: deployerId
  }
}

output id string = account.id
output packageContainer string = account::blobs::packages.name
output tableEndpoint string = account.properties.primaryEndpoints.table
