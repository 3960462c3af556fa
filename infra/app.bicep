// The function app: Flex Consumption, Python 3.13, every setting of the job.
param location string
param tags { *: string }

@description('Name of the app.')
param name string

param planName string

param identityId string
param identityClientId string
param storageName string
param packageContainer string
param insightsName string

@description('Subnet of outgoing traffic; none if empty.')
param subnetId string

@description('Whether only a private endpoint leads to the app.')
param isPrivate bool

param instanceMemoryMB int
param maximumInstanceCount int

@description('Workspace that messages link to.')
param workspaceResourceId string

@description('Workspaces to read, by their ids in the query API.')
param workspaceCustomerIds string[]

param queryEndpoint string
param parsers string
param rules string
param allowedLateness string
param maxCatchUp string
param incidentTable string
param detectSchedule string
param deliverSchedule string
param webhookFormat string
param stormAlerts int
param floodSignals int
param pageUrl string

@description('Entra app registration that signs people in; if empty, the function key grants access.')
param pageClientId string

@description('Entra groups whose members may sign in; if empty, the registration decides.')
param pageGroupIds string[]

@description('Key Vault references; empty without a secret.')
param webhookUrlReference string
param webhookSignatureReference string
param webhooksReference string
param heartbeatUrlReference string
param linkKeyReference string

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { tier: 'FlexConsumption', name: 'FC1' }
  properties: { reserved: true } // Linux
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'detection' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    functionAppConfig: {
      runtime: { name: 'python', version: '3.13' }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
      }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${account.properties.primaryEndpoints.blob}${packageContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      // The documented default, which needs version 2023-12-01 and ends executions in progress: the next run makes up for
      // them. Rolling updates are in preview, and would let two versions of the job overlap:
      // https://learn.microsoft.com/azure/azure-functions/flex-consumption-site-updates
      #disable-next-line BCP037 // the compiler's types lack the property
      siteUpdateStrategy: { type: 'Recreate' }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      http20Enabled: true
    }
  }

  // Packages are deployed with an Entra token; user names and passwords are off. The resources below depend on each
  // other because the service refuses two changes of a site at a time.
  resource ftp 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: { allow: false }
  }

  resource scm 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    dependsOn: [ftp]
    properties: { allow: false }
  }

  resource settings 'config' = {
    name: 'appsettings'
    dependsOn: [scm]
    properties: {
      // the host's storage and log, accessed by identity
      AzureWebJobsDisableHomepage: 'true' // the platform's home page shows strangers what runs here
      FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: '1048576' // bytes; by default the host reads 100 MB before the app may refuse it
      AzureWebJobsStorage__credential: 'managedidentity'
      // With the addresses alone, the host sometimes fails to start: https://github.com/Azure/azure-functions-host/issues/11787
      AzureWebJobsStorage__accountName: account.name
      AzureWebJobsStorage__clientId: identityClientId
      AzureWebJobsStorage__blobServiceUri: account.properties.primaryEndpoints.blob
      AzureWebJobsStorage__tableServiceUri: account.properties.primaryEndpoints.table
      APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'

      // the job's settings: docs/settings.md
      LOG_ANALYTICS_WORKSPACE_ID: join(workspaceCustomerIds, ',')
      LOG_ANALYTICS_RESOURCE_ID: workspaceResourceId
      LOG_ANALYTICS_ENDPOINT: queryEndpoint
      PARSERS: parsers
      ALLOWED_LATENESS: allowedLateness
      MAX_CATCH_UP: maxCatchUp
      INCIDENT_STORAGE: account.properties.primaryEndpoints.table
      INCIDENT_TABLE: incidentTable
      RULES: rules
      WEBHOOK_URL: webhookUrlReference
      WEBHOOK_FORMAT: webhookFormat
      WEBHOOK_SECRET: webhookSignatureReference
      WEBHOOKS: webhooksReference
      STORM_ALERTS: string(stormAlerts)
      FLOOD_SIGNALS: string(floodSignals)
      PAGE_URL: pageUrl
      LINK_KEY: linkKeyReference
      HEARTBEAT_URL: heartbeatUrlReference
      AZURE_CLIENT_ID: identityClientId
      DETECT_SCHEDULE: detectSchedule
      DELIVER_SCHEDULE: deliverSchedule
    }
  }

  // Access to the incident page: by Entra sign-in, or by the function's key if there is no registration. Links in
  // messages pass without sign-in: the app verifies their signature and shows a single incident.
  resource auth 'config' = {
    name: 'authsettingsV2'
    dependsOn: [settings]
    properties: {
      platform: { enabled: !empty(pageClientId) }
      globalValidation: {
        requireAuthentication: !empty(pageClientId)
        unauthenticatedClientAction: 'RedirectToLoginPage'
        redirectToProvider: 'azureactivedirectory'
        excludedPaths: ['/api/look/*', '/api/health', '/api/run'] // protected by the link's signature and by the functions' keys
      }
      httpSettings: { requireHttps: true }
      identityProviders: {
        azureActiveDirectory: {
          enabled: !empty(pageClientId)
          registration: {
            clientId: pageClientId
            openIdIssuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
          }
          // Without the policy, every user of the tenant may sign in:
          // https://learn.microsoft.com/azure/app-service/configure-authentication-provider-aad#use-a-built-in-authorization-policy
          validation: {
            allowedAudiences: [pageClientId, 'api://${pageClientId}']
            defaultAuthorizationPolicy: empty(pageGroupIds) ? null : { allowedPrincipals: { groups: pageGroupIds } }
          }
        }
      }
      login: { tokenStore: { enabled: false } } // the app calls no API on behalf of a user
    }
  }
}

output id string = app.id
output name string = app.name
