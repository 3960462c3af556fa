// Who did what, in the job's own workspace: reads of secrets, every access to the incident table, changes of the package,
// and sign-ins to the incident page.
param vaultName string
param storageName string
param appName string

@description('The job\'s own workspace.')
param workspaceName string

@description('Whether App Service signs people in.')
param signsIn bool

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: workspaceName
}

resource vault 'Microsoft.KeyVault/vaults@2026-02-01' existing = {
  name: vaultName
}

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageName

  resource blobs 'blobServices' existing = {
    name: 'default'
  }

  resource tables 'tableServices' existing = {
    name: 'default'
  }
}

resource app 'Microsoft.Web/sites@2025-03-01' existing = {
  name: appName
}

// The version that Microsoft documents is a preview; the only other one is of 2016.
#disable-next-line use-recent-api-versions
resource ofVault 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit-vault'
  scope: vault
  properties: {
    workspaceId: workspace.id
    logs: [{ category: 'AuditEvent', enabled: true }]
  }
}

#disable-next-line use-recent-api-versions
resource ofTables 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit-tables'
  scope: account::tables
  properties: {
    workspaceId: workspace.id
    logs: [
      { category: 'StorageRead', enabled: true }
      { category: 'StorageWrite', enabled: true }
      { category: 'StorageDelete', enabled: true }
    ]
  }
}

#disable-next-line use-recent-api-versions
resource ofBlobs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit-blobs'
  scope: account::blobs
  properties: {
    workspaceId: workspace.id
    logs: [
      { category: 'StorageWrite', enabled: true }
      { category: 'StorageDelete', enabled: true }
    ]
  }
}

// Only with sign-in, which these lines are about. Requests are in Application Insights; the category FunctionAppLogs would
// repeat the job's log, and on Flex Consumption without its filters (Azure/azure-functions-host 11434).
#disable-next-line use-recent-api-versions
resource ofApp 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (signsIn) {
  name: 'audit-app'
  scope: app
  properties: {
    workspaceId: workspace.id
    logs: [{ category: 'AppServiceAuthenticationLogs', enabled: true }]
  }
}
