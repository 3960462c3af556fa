// The job's roles on a workspace that it reads. A separate module, because the workspace may be in another resource
// group or subscription. The deployment needs the right to assign roles there.
@description('Name of the workspace, in the resource group that this module is deployed to.')
param workspaceName string

@description('The job\'s identity.')
param principalId string

@description('Whether queries use the functions saved in the workspace (PARSERS=alias).')
param savedFunctions bool

var roles = {
  logAnalyticsDataReader: '3b03c2da-16b3-4a49-8834-0f8130efdd3b'
  logAnalyticsReader: '73c42c96-874c-492b-b04d-ab87d138a893'
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: workspaceName
}

// Allows queries and reading table rows, and nothing else of the workspace.
resource readsData 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(workspace.id, principalId, roles.logAnalyticsDataReader)
  scope: workspace
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.logAnalyticsDataReader)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

// A saved function is a saved search, which the role above cannot read (workspaces/savedSearches/read). This role can,
// but it also reads everything else in the workspace, so it is assigned only with PARSERS=alias.
resource readsFunctions 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (savedFunctions) {
  name: guid(workspace.id, principalId, roles.logAnalyticsReader)
  scope: workspace
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.logAnalyticsReader)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

@description('Id of the workspace in the query API.')
output customerId string = workspace.properties.customerId
